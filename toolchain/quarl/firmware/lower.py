"""Lower: a quantised policy becomes kernel calls, tables and a memory plan.

The C side is described in firmware_harness/include/ql_kernels.h; field names here are the ones there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TypeAlias

import numpy as np

from quarl.emitters.shapes import Shape, quant_shapes
from quarl.errors import UnsupportedError
from quarl.firmware import neon
from quarl.firmware.packing import (
    MVE_LANES,
    MVE_ROWS,
    ROWS,
    STEP,
    dsp_weights,
    folded_bias,
    mve_weights,
    pad_rows,
    padded_length,
    portable_weights,
)
from quarl.firmware.program import SIZES, Array, Call, CType, Kernels, Operand, Program, ctype_of, float_text
from quarl.litert_ops import QuantAdd, QuantAveragePool2D, QuantMean
from quarl.planner import Buffer, MemoryPlan, Overlap, elementwise_distance, plan_memory, window_distance
from quarl.policy import INPUT, Add, Concat, Flatten, MaxPool2D
from quarl.quant_policy import (
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantNode,
    QuantPolicy,
    QuantTable,
    QuantTensor,
    QuantWeighted,
    weight_bits,
)

Windowed: TypeAlias = QuantConv2D | QuantDepthwiseConv2D | MaxPool2D | QuantAveragePool2D
SCRATCH = "\0scratch"  # no layer can be called so
WORD = 4  # bytes; LDM faults on less
INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1
LETTERS: dict[CType, str] = {"int8_t": "s8", "int16_t": "s16", "float": "f32"}


def lower(policy: QuantPolicy, kernels: Kernels) -> Program:
    """Return the program of a policy for a family of kernels.

    Raises:
        UnsupportedError: a tensor wider than int16, or a sum of wide tensors.
        QuantizationError: a sum that does not fit int32 once the zero point is folded.
    """
    lowering = _Lowering(policy, kernels, quant_shapes(policy))
    for step, node in enumerate(policy.nodes):
        lowering.add(step, node)
    last = policy.nodes[-1].name
    memory = lowering.memory()
    return Program(
        policy,
        kernels,
        tuple(lowering.calls),
        memory,
        lowering.operand(INPUT),
        Operand(lowering.places[last], ctype_of(policy.output_dtype)),
        prod(lowering.shapes[INPUT]),
        prod(lowering.shapes[last]),
    )


@dataclass(slots=True)
class _Lowering:
    """Collects calls and buffers while the nodes pass by."""

    policy: QuantPolicy
    kernels: Kernels
    shapes: dict[str, Shape]
    calls: list[Call] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=lambda: {INPUT: INPUT})  # tensor -> buffer; Flatten shares its input's
    scratch: list[Buffer] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)

    def add(self, step: int, node: QuantNode) -> None:
        """Append the calls of one node."""
        if isinstance(node.op, Flatten):
            self.places[node.name] = self.places[node.inputs[0]]
            return
        self.places[node.name] = node.name
        prefix = f"layer{step}"
        if isinstance(node.op, QuantWeighted) and neon.takes(self, node, node.op):
            neon.add_layer(self, step, node, node.op, prefix)
            return
        match node.op:
            case QuantDense():
                self._dense(step, node, node.op, prefix)
            case QuantConv2D():
                self._conv2d(step, node, node.op, prefix)
            case QuantDepthwiseConv2D():
                self._depthwise(step, node, node.op, prefix)
            case QuantTable():
                self._table(step, node, node.op, prefix)
            case MaxPool2D() | QuantAveragePool2D():
                self._pool(node, node.op, prefix)
            case QuantMean():
                self._mean(node, node.op, prefix)
            case QuantAdd():
                self._scaled_add(node, node.op, prefix)
            case Add():
                self._add(step, node, prefix)
            case Concat():
                self._concat(node)

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
            raise UnsupportedError(f"{name}: its integers span {tensor.qmin} to {tensor.qmax}, the C runtime holds int16: use a lower rung")
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

    def _dense(self, step: int, node: QuantNode, op: QuantDense, prefix: str) -> None:
        source = node.inputs[0]
        fields, arrays = self._dense_fields(node, op, prefix)
        operands = [self.operand(source)]
        if self.kernels == "dsp":
            operands.append(self._scratch(step, padded_length(op.weights.shape[1], STEP) * 2, "int16_t"))
        operands.append(self.operand(node.name))
        name = "ql_dense_dsp" if self.kernels == "dsp" else "ql_dense"
        self._call(node, name, operands, f"{name}_layer", prefix, fields, arrays)

    def _conv2d(self, step: int, node: QuantNode, op: QuantConv2D, prefix: str) -> None:
        fields, arrays = self._dense_fields(node, op, prefix)
        in_type = self.ctype(node.inputs[0])
        length = prod(op.weights.shape[1:])
        if self.kernels == "dsp":
            scratch, group = self._scratch(step, padded_length(length, STEP) * 4, "int16_t"), 2
        else:
            scratch, group = self._scratch(step, length * SIZES[in_type], in_type), 1
        name = "ql_conv2d_dsp" if self.kernels == "dsp" else "ql_conv2d"
        dense_text = "{" + ", ".join(f".{key} = {value}" for key, value in fields) + "}"
        window = self._window_text(node, op)
        conv_fields = (("dense", dense_text), ("window", window), ("out_bytes", str(SIZES[self.ctype(node.name)])))
        self._window_overlap(node, op, group, reads_before_writes=True)
        operands = [self.operand(node.inputs[0]), scratch, self.operand(node.name)]
        self._call(node, name, operands, f"{name}_layer", prefix, conv_fields, arrays)

    def _depthwise(self, step: int, node: QuantNode, op: QuantDepthwiseConv2D, prefix: str) -> None:
        arrays, range_text, store = self._range(node, op, prefix)
        fields = (
            ("weights", f"{prefix}_weights"),
            ("bias", f"{prefix}_bias"),
            ("range", range_text),
            ("store", store),
            ("window", self._window_text(node, op)),
            ("out_bytes", str(SIZES[self.ctype(node.name)])),
        )
        weights = Array(f"{prefix}_weights", "int8_t", portable_weights(op))
        self._window_overlap(node, op, 1, reads_before_writes=False)
        operands = [self.operand(node.inputs[0]), self.operand(node.name)]
        self._call(node, "ql_depthwise", operands, "ql_depthwise_layer", prefix, fields, (weights, *arrays))

    def _table(self, step: int, node: QuantNode, op: QuantTable, prefix: str) -> None:
        source = node.inputs[0]
        in_type, out_type = self.ctype(source), self.ctype(node.name)
        count = prod(self.shapes[node.name])
        fields = (
            ("table", f"{prefix}_table"),
            ("count", str(count)),
            ("qmin", str(self.policy.tensor(source).qmin)),
            ("in_bytes", str(SIZES[in_type])),
            ("out_bytes", str(SIZES[out_type])),
        )
        distance = elementwise_distance(count, SIZES[in_type], SIZES[out_type])
        self.overlaps.append(Overlap(self.places[source], node.name, distance))
        kernel = "ql_table_s8" if in_type == out_type == "int8_t" else "ql_table_wide"
        arrays = (Array(f"{prefix}_table", out_type, op.table),)
        self._call(node, kernel, [self.operand(source), self.operand(node.name)], "ql_table_layer", prefix, fields, arrays)

    def _add(self, step: int, node: QuantNode, prefix: str) -> None:
        names = [*node.inputs, node.name]
        wide = [name for name in names if self.ctype(name) != "int8_t"]
        if wide:
            raise UnsupportedError(f"{node.name}: adds {wide[0]}, which is wider than int8; the C runtime adds int8: use a lower rung")
        assert node.output is not None
        tensor = node.output
        fields = (
            ("multiplier", "NULL"),
            ("zero_point", str(tensor.zero_point)),
            ("qmin", str(tensor.qmin)),
            ("qmax", str(tensor.qmax)),
        )
        for source in dict.fromkeys(node.inputs):
            self.overlaps.append(Overlap(self.places[source], node.name, 0))
        operands = [self.operand(name) for name in names]
        self._call(node, "ql_add_s8", operands, "ql_range", prefix, fields, (), leading=(str(prod(self.shapes[node.name])),))

    def _pool(self, node: QuantNode, op: MaxPool2D | QuantAveragePool2D, prefix: str) -> None:
        assert node.output is not None
        kernel = f"ql_{'max' if isinstance(op, MaxPool2D) else 'average'}_pool_{LETTERS[self.ctype(node.name)]}"
        window = self._window_text(node, op)
        fields = (("window", window), ("qmin", str(node.output.qmin)), ("qmax", str(node.output.qmax)))
        self._window_overlap(node, op, 1, reads_before_writes=False)
        self._call(node, kernel, [self.operand(node.inputs[0]), self.operand(node.name)], "ql_pool_layer", prefix, fields, ())

    def _mean(self, node: QuantNode, op: QuantMean, prefix: str) -> None:
        assert node.output is not None
        source, target = node.inputs[0], node.output
        height, width, channels = self.shapes[source]
        fields = (
            ("multiplier", float_text(np.float32(op.multiplier))),
            ("in_zero_point", str(self.policy.tensor(source).zero_point)),
            ("zero_point", str(target.zero_point)),
            ("qmin", str(target.qmin)),
            ("qmax", str(target.qmax)),
            ("pixels", str(height * width)),
            ("channels", str(channels)),
        )
        self.overlaps.append(Overlap(self.places[source], node.name, 0))
        self._call(node, "ql_mean_s8", [self.operand(source), self.operand(node.name)], "ql_mean_layer", prefix, fields, ())

    def _scaled_add(self, node: QuantNode, op: QuantAdd, prefix: str) -> None:
        assert node.output is not None
        a, b = (self.policy.tensor(name) for name in node.inputs)
        target = node.output
        fields = (
            ("a_zero_point", str(a.zero_point)),
            ("a_factor", str(op.left)),
            ("b_zero_point", str(b.zero_point)),
            ("b_factor", str(op.right)),
            ("shift", str(op.shift)),
            ("zero_point", str(target.zero_point)),
            ("qmin", str(target.qmin)),
            ("qmax", str(target.qmax)),
        )
        for source in dict.fromkeys(node.inputs):
            self.overlaps.append(Overlap(self.places[source], node.name, 0))
        operands = [self.operand(name) for name in (*node.inputs, node.name)]
        count = str(prod(self.shapes[node.name]))
        self._call(node, "ql_add_scaled_s8", operands, "ql_scaled_add", prefix, fields, (), leading=(count,))

    def _concat(self, node: QuantNode) -> None:
        shape = self.shapes[node.name]
        element = SIZES[self.ctype(node.name)]
        at = 0
        for source in node.inputs:
            width = self.shapes[source][-1] * element
            sizes = (str(prod(shape[:-1])), str(width), str(shape[-1] * element))
            operands = (self.operand(source), self.operand(node.name))
            self.calls.append(Call(node.name, "ql_concat", operands, leading=(*sizes, str(at)), is_const=(True, False)))
            at += width

    def _dense_fields(
        self, node: QuantNode, op: QuantDense | QuantConv2D, prefix: str
    ) -> tuple[tuple[tuple[str, str], ...], tuple[Array, ...]]:
        arrays, range_text, store = self._range(node, op, prefix)
        letters = LETTERS[self.ctype(node.inputs[0])]
        length = prod(op.weights.shape[1:])
        is_int4 = weight_bits(op) == 4
        narrow = "_w4" if is_int4 else ""
        fields = [("weights", f"{prefix}_weights"), ("bias", f"{prefix}_bias"), ("range", range_text), ("store", store)]
        if self.kernels == "dsp":
            lanes = "_lanes" if isinstance(op, QuantConv2D) else ""
            fields += [("spread", f"ql_spread_{letters}"), ("mac", f"ql_mac{lanes}{narrow}_dsp")]
            fields += [("in_len", str(length)), ("padded_len", str(padded_length(length, STEP)))]
            weights = Array(f"{prefix}_weights", "int8_t", dsp_weights(op), WORD)
        elif self.kernels == "mve" and not (is_int4 and letters == "s16"):  # rare, and left to the portable kernel
            fields += [("mac", f"ql_mac_{letters}{narrow}_mve"), ("in_len", str(length))]
            weights = Array(f"{prefix}_weights", "int8_t", mve_weights(op), MVE_LANES)
        else:
            fields += [("mac", f"ql_mac_{letters}{narrow}"), ("in_len", str(length))]
            weights = Array(f"{prefix}_weights", "int8_t", portable_weights(op))
        fields.append(("out_len", str(len(op.weights))))
        return tuple(fields), (weights, *arrays)

    def _range(self, node: QuantNode, op: QuantWeighted, prefix: str) -> tuple[tuple[Array, ...], str, str]:
        """Return bias and multiplier arrays, the ql_range initialiser and the store function."""
        bias = folded_bias(node.name, op, self.policy.tensor(node.inputs[0]))
        if not isinstance(op, QuantDepthwiseConv2D) and (self.kernels != "portable" or weight_bits(op) == 4):
            bias = pad_rows(bias, MVE_ROWS if self.kernels == "mve" else ROWS)
        arrays = (Array(f"{prefix}_bias", "int32_t", bias), Array(f"{prefix}_multiplier", "float", op.multiplier.astype(np.float32)))
        tensor = node.output or QuantTensor(np.float32(1), 0)
        text = f"{{{prefix}_multiplier, {tensor.zero_point}, {tensor.qmin}, {tensor.qmax}}}"
        store = f"ql_store_{LETTERS[self.ctype(node.name)]}"
        return arrays, text, f"{store}_mve" if self.kernels == "mve" and store == "ql_store_s8" else store

    def _window_text(self, node: QuantNode, op: Windowed) -> str:
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

    def _window_overlap(self, node: QuantNode, op: Windowed, group: int, *, reads_before_writes: bool) -> None:
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

    def _scratch(self, step: int, size: int, ctype: CType) -> Operand:
        name = f"{SCRATCH}{step}"
        self.scratch.append(Buffer(name, size, step, step))
        return Operand(name, ctype)

    def _call(
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
        is_const = tuple(o.buffer != node.name and not o.buffer.startswith(SCRATCH) for o in operands)
        self.calls.append(Call(node.name, kernel, tuple(operands), descriptor_type, f"{prefix}_layer", fields, leading, arrays, is_const))


def _kernel(op: Windowed) -> tuple[int, int]:
    """Return height and width of the windows."""
    return op.kernel if isinstance(op, MaxPool2D | QuantAveragePool2D) else (op.weights.shape[1], op.weights.shape[2])
