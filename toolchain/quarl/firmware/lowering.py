"""Lowering: what is collected while a policy's nodes become kernel calls.

In: nodes, one after the other. Out: calls, the buffers they need, and which buffers may overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TypeAlias

from quarl.boards.core import Kernels
from quarl.errors import UnsupportedError
from quarl.firmware.c_types import SIZES, CType
from quarl.firmware.memory_planner import (
    Buffer,
    MemoryPlan,
    Overlap,
    Patches,
    plan_memory,
    window_distance,
)
from quarl.firmware.program import Call, Descriptor, Operand, Struct, Value
from quarl.firmware.record import OBSERVATION, Records
from quarl.graph.litert_ops import QuantAveragePool2D
from quarl.graph.policy import INPUT, MaxPool2D
from quarl.graph.quant_policy import QuantConv2D, QuantDepthwiseConv2D, QuantNode, QuantPolicy
from quarl.graph.shapes import Shape
from quarl.graph.state import STATE

Windowed: TypeAlias = QuantConv2D | QuantDepthwiseConv2D | MaxPool2D | QuantAveragePool2D
Fields: TypeAlias = tuple[tuple[str, Value], ...]
SCRATCH = "\0scratch"  # no layer can be called so
RESULTS = "\0results"  # outputs and next states of a recurrent policy
INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1


@dataclass(frozen=True, slots=True)
class Step:
    """A node and its place in the order; the prefix of its names in C comes from the place."""

    number: int
    node: QuantNode

    @property
    def name(self) -> str:
        """The tensor it makes."""
        return self.node.name

    @property
    def source(self) -> str:
        """The tensor it reads first."""
        return self.node.inputs[0]

    @property
    def prefix(self) -> str:
        """What the names of its tables begin with."""
        return f"layer{self.number}"

    def descriptor(self, ctype: str, fields: Fields) -> Descriptor:
        """Return its descriptor of a C type."""
        return Descriptor(ctype, self.prefix, Struct(fields))


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
    offsets: dict[str, int] = field(default_factory=dict)  # of tensors within their buffers
    sizes: dict[str, int] = field(default_factory=dict)  # of buffers that hold several tensors
    scratch: list[Buffer] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)

    def operand(self, name: str) -> Operand:
        """Return where a tensor lies."""
        return Operand(self.places[name], self.ctype(name), self.offsets.get(name, 0))

    def add_records(self, records: Records) -> None:
        """Lay observation and states into one buffer, outputs and next states into another."""
        for one in records.input.fields:
            name = INPUT if one.name == OBSERVATION else f"{STATE}{one.name}"
            self.places[name], self.offsets[name] = INPUT, one.offset
        nexts = {state.name: state.next for state in self.policy.state}
        for one in records.output.fields:
            name = nexts.get(one.name, self.policy.nodes[-1].name)
            self.places[name], self.offsets[name] = RESULTS, one.offset
        self.sizes = {INPUT: records.input.bytes, RESULTS: records.output.bytes}

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

    def element_bytes(self, name: str) -> int:
        """Return the bytes of an element of a tensor."""
        return SIZES[self.ctype(name)]

    def memory(self) -> MemoryPlan:
        """Return the plan of all buffers."""
        last_step = len(self.policy.nodes) - 1
        first = {INPUT: 0}
        last = {INPUT: 0}
        size = {INPUT: prod(self.shapes[INPUT]) * self.element_bytes(INPUT)}
        for step, node in enumerate(self.policy.nodes):
            for name in node.inputs:
                last[self.places[name]] = step
            place = self.places[node.name]
            if place in (node.name, RESULTS):
                first.setdefault(place, step)
                last[place] = step
                size[place] = prod(self.shapes[node.name]) * self.element_bytes(node.name)
        last[self.places[self.policy.nodes[-1].name]] = last_step
        size |= self.sizes
        buffers = [Buffer(name, size[name], first[name], last[name]) for name in size]
        rules = [
            rule
            for rule in self.overlaps
            if rule.output in first and last[rule.source] == first[rule.output]
        ]
        return plan_memory([*buffers, *self.scratch], rules)

    def window(self, step: Step, op: Windowed) -> Struct:
        """Return the `ql_window` of a layer."""
        height, width, channels = self.shapes[step.source]
        rows, cols, _ = self.shapes[step.name]
        kernel_height, kernel_width = _kernel(op)
        return Struct(
            (
                ("in_height", height),
                ("in_width", width),
                ("in_channels", channels),
                ("kernel_height", kernel_height),
                ("kernel_width", kernel_width),
                ("stride_height", op.stride[0]),
                ("stride_width", op.stride[1]),
                ("pad_top", op.padding[0][0]),
                ("pad_left", op.padding[1][0]),
                ("out_height", rows),
                ("out_width", cols),
                ("in_zero_point", self.policy.tensor(step.source).zero_point),
                ("element_bytes", self.element_bytes(step.source)),
            )
        )

    def allow_overlap(self, step: Step, distance: int = 0) -> None:
        """Allow a layer's output to begin `distance` bytes before each of its inputs."""
        for source in dict.fromkeys(step.node.inputs):
            self.overlaps.append(Overlap(self.places[source], step.name, distance))

    def allow_window_overlap(
        self, step: Step, op: Windowed, group: int, *, reads_before_writes: bool
    ) -> None:
        """Allow a windowed layer's output to overlap its input, as far as the kernel's order of
        reading permits.
        """
        height, width, channels = self.shapes[step.source]
        patches = Patches(
            (height, width, channels),
            self.element_bytes(step.source),
            _kernel(op),
            op.stride,
            op.padding,
        )
        distance = window_distance(
            patches,
            self.shapes[step.name][2] * self.element_bytes(step.name),
            pixels_per_group=group,
            reads_before_writes=reads_before_writes,
        )
        self.overlaps.append(Overlap(self.places[step.source], step.name, distance))

    def add_scratch(self, step: Step, size: int, ctype: CType) -> Operand:
        """Return a buffer of `size` bytes that lives in this step alone."""
        name = f"{SCRATCH}{step.number}"
        self.scratch.append(Buffer(name, size, step.number, step.number))
        return Operand(name, ctype)

    def call(
        self,
        step: Step,
        kernel: str,
        descriptor: Descriptor | None,
        sizes: Sequence[int] = (),
        scratch: Operand | None = None,
    ) -> None:
        """Append the call of a kernel that reads the layer's inputs and writes its output.

        Args:
            scratch: passed between them.
        """
        operands = [self.operand(name) for name in step.node.inputs]
        if scratch is not None:
            operands.append(scratch)
        operands.append(self.operand(step.name))
        self.calls.append(Call(step.name, kernel, tuple(operands), descriptor, tuple(sizes)))


def _kernel(op: Windowed) -> tuple[int, int]:
    """Return height and width of the windows."""
    return (
        op.kernel
        if isinstance(op, MaxPool2D | QuantAveragePool2D)
        else (op.weights.shape[1], op.weights.shape[2])
    )
