"""Lowering: what is collected while a policy's nodes become kernel calls.

In: nodes, one after the other. Out: calls, the buffers they need, and which buffers may overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TypeAlias

from quarl.boards.core import Kernels
from quarl.errors import UnsupportedError
from quarl.firmware.memory_planner import Buffer, MemoryPlan, Overlap, plan_memory, window_distance
from quarl.firmware.program import SIZES, Array, Call, CType, Operand
from quarl.graph.litert_ops import QuantAveragePool2D
from quarl.graph.policy import INPUT, MaxPool2D
from quarl.graph.quant_policy import QuantConv2D, QuantDepthwiseConv2D, QuantNode, QuantPolicy
from quarl.graph.shapes import Shape

Windowed: TypeAlias = QuantConv2D | QuantDepthwiseConv2D | MaxPool2D | QuantAveragePool2D
SCRATCH = "\0scratch"  # no layer can be called so
INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1


@dataclass(slots=True)
class Lowering:
    """The calls and buffers of the nodes that have passed by."""

    policy: QuantPolicy
    kernels: Kernels
    shapes: dict[str, Shape]
    calls: list[Call] = field(default_factory=list)
    places: dict[str, str] = field(
        default_factory=lambda: {INPUT: INPUT}
    )  # tensor -> buffer; Flatten shares its input's
    scratch: list[Buffer] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)

    def operand(self, name: str) -> Operand:
        """Return where a tensor lies."""
        return Operand(self.places[name], self.ctype(name))

    def ctype(self, name: str) -> CType:
        """Return the C type of a tensor's elements."""
        if name == self.policy.nodes[-1].name and self.policy.has_wide_head:
            return "float"
        tensor = self.policy.tensor(name)
        if tensor.is_int8:
            return "int8_t"
        if tensor.qmin < INT16_MIN or tensor.qmax > INT16_MAX:
            raise UnsupportedError(
                f"{name}: its integers span {tensor.qmin} to {tensor.qmax}, the C runtime "
                "holds int16: use a lower rung"
            )
        return "int16_t"

    def memory(self) -> MemoryPlan:
        """Return the plan of all buffers."""
        last_step = len(self.policy.nodes) - 1
        first = {INPUT: 0}
        last = {INPUT: 0}
        size = {INPUT: prod(self.shapes[INPUT]) * SIZES[self.ctype(INPUT)]}
        for step, node in enumerate(self.policy.nodes):
            for name in node.inputs:
                last[self.places[name]] = step
            place = self.places[node.name]
            if place == node.name:
                first[place] = last[place] = step
                size[place] = prod(self.shapes[node.name]) * SIZES[self.ctype(node.name)]
        last[self.places[self.policy.nodes[-1].name]] = last_step
        buffers = [Buffer(name, size[name], first[name], last[name]) for name in size]
        rules = [rule for rule in self.overlaps if last[rule.source] == first[rule.output]]
        return plan_memory([*buffers, *self.scratch], rules)

    def window_text(self, node: QuantNode, op: Windowed) -> str:
        """Return the initialiser of a `ql_window`."""
        source = node.inputs[0]
        height, width, channels = self.shapes[source]
        rows, cols, _ = self.shapes[node.name]
        values = (
            *(height, width, channels),
            *_kernel(op),
            *op.stride,
            *(op.padding[0][0], op.padding[1][0]),
            *(rows, cols),
            *(self.policy.tensor(source).zero_point, SIZES[self.ctype(source)]),
        )
        return "{" + ", ".join(str(value) for value in values) + "}"

    def window_overlap(
        self, node: QuantNode, op: Windowed, group: int, *, reads_before_writes: bool
    ) -> None:
        """Allow a windowed layer's output to overlap its input, as far as the kernel's order of
        reading permits.
        """
        source = node.inputs[0]
        height, width, channels = self.shapes[source]
        distance = window_distance(
            (height, width, channels),
            SIZES[self.ctype(source)],
            _kernel(op),
            op.stride,
            op.padding,
            self.shapes[node.name][2] * SIZES[self.ctype(node.name)],
            pixels_per_group=group,
            reads_before_writes=reads_before_writes,
        )
        self.overlaps.append(Overlap(self.places[source], node.name, distance))

    def add_scratch(self, step: int, size: int, ctype: CType) -> Operand:
        """Return a buffer of `size` bytes that lives in this step alone."""
        name = f"{SCRATCH}{step}"
        self.scratch.append(Buffer(name, size, step, step))
        return Operand(name, ctype)

    def call(
        self,
        node: QuantNode,
        kernel: str,
        operands: list[Operand],
        descriptor_type: str,
        prefix: str,
        fields: tuple[tuple[str, str], ...],
        arrays: tuple[Array, ...],
        leading: tuple[str, ...] = (),
    ) -> None:
        """Append the call of a kernel, its descriptor and its tables."""
        is_const = tuple(
            o.buffer != node.name and not o.buffer.startswith(SCRATCH) for o in operands
        )
        self.calls.append(
            Call(
                node.name,
                kernel,
                tuple(operands),
                descriptor_type,
                f"{prefix}_layer",
                fields,
                leading,
                arrays,
                is_const,
            )
        )


def _kernel(op: Windowed) -> tuple[int, int]:
    """Return height and width of the windows."""
    return (
        op.kernel
        if isinstance(op, MaxPool2D | QuantAveragePool2D)
        else (op.weights.shape[1], op.weights.shape[2])
    )
