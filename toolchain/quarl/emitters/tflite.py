"""The int8 `.tflite` file of a quantised policy, equal to the NumPy reference bit for bit in LiteRT
(decision 0001).

In: a QuantPolicy. Out: the file's bytes; input int8 [1, ...] (int16 where the observation is wide),
output int8 [1, count] (float32 for a wide head); the batch may be resized.

Narrow layers are ordinary int8 operators: LiteRT computes their multiplier from the scales in the
file, so the scales pass through and must give the stored multiplier. Wide layers compute on float32
tensors that hold q - zero_point: every sum stays below 2^24, where float32 is exact, so no rounding
happens but the rescale's own.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]
from numpy.typing import NDArray

from quarl.emitters import tflite_layers as layers
from quarl.emitters.checks import check_equal_tensors, check_multiplier
from quarl.emitters.provenance import provenance
from quarl.emitters.tflite_file import TfliteFile
from quarl.emitters.tflite_layers import OPS, Value, Window
from quarl.graph.litert_ops import QuantAdd, QuantAveragePool2D, QuantMean
from quarl.graph.policy import INPUT, Add, Columns, Concat, Flatten, MaxPool2D
from quarl.graph.quant_policy import (
    INT8_MAX,
    INT8_MIN,
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantMul,
    QuantNode,
    QuantPolicy,
    QuantRescale,
    QuantTable,
    QuantTensor,
    QuantWeighted,
    is_wide_layer,
)
from quarl.graph.shapes import Shape, quant_shapes

NATIVE_FUNCTIONS = {
    "tanh": (OPS.TANH, np.float32(1 / 128), 0),
    "sigmoid": (OPS.LOGISTIC, np.float32(1 / 256), -128),
}


def emit_tflite(policy: QuantPolicy) -> bytes:
    """Return the `.tflite` file of the policy; the same policy gives the same bytes.

    Raises:
        QuantizationError: scales that do not give the stored multipliers, or tensors that should be
            equal and are not.
    """
    return _Writer(policy, native_tables(policy)).write()


def native_tables(policy: QuantPolicy) -> frozenset[str]:
    """Return the names of the table nodes whose every entry LiteRT's own TANH or LOGISTIC gives on
    this machine.

    The others become a GATHER on the table, exact by construction and slower.
    """
    return frozenset(
        node.name
        for node in policy.nodes
        if isinstance(node.op, QuantTable) and _is_native(policy, node, node.op)
    )


def _is_native(policy: QuantPolicy, node: QuantNode, op: QuantTable) -> bool:
    source, target = policy.tensor(node.inputs[0]), node.output
    if (
        op.function not in NATIVE_FUNCTIONS
        or target is None
        or not (source.is_int8 and target.is_int8)
    ):
        return False
    code, scale, zero_point = NATIVE_FUNCTIONS[op.function]
    if (target.scale, target.zero_point, target.qmin, target.qmax) != (
        scale,
        zero_point,
        INT8_MIN,
        INT8_MAX,
    ):
        return False
    from quarl.runtimes.host import LitertRuntime

    file = TfliteFile()
    x = file.activation(INPUT, (1,), np.int8, source)
    y = file.operator(code, 2, [x], file.activation(node.name, (1,), np.int8, target))
    integers = np.arange(source.qmin, source.qmax + 1, dtype=np.int8)
    return bool(
        (LitertRuntime(file.finish(x, y, {})).run(integers[:, None])[:, 0] == op.table).all()
    )


class _Writer:
    """Walks the nodes once. A tensor exists as integers, as float32 offsets (q - zero_point), or as
    both where both are read.
    """

    def __init__(self, policy: QuantPolicy, native: frozenset[str]) -> None:
        self.policy, self.native = policy, native
        self.shapes = quant_shapes(policy)
        self.file = TfliteFile()
        self.integers: dict[str, Value] = {}
        self.offsets: dict[str, Value] = {}

    def write(self) -> bytes:
        tensor = self.policy.observation.tensor
        shape = self.shapes[INPUT]
        dtype = np.int8 if tensor.is_int8 else np.int16
        graph_input = Value(self.file.activation(INPUT, shape, dtype, tensor), shape, dtype, tensor)
        self.integers[INPUT] = graph_input
        for state in self.policy.state:
            self.integers[state.tensor_name] = self._integer_value(state.tensor_name)
        for node in self.policy.nodes:
            self._add(node)
        last = self.policy.nodes[-1]
        output = self.offsets[last.name] if last.output is None else self._integers(last.name)
        states = [
            (s.name, self.integers[s.tensor_name].index, self._integers(s.next).index)
            for s in self.policy.state
        ]
        return self.file.finish(graph_input.index, output.index, provenance(self.policy), states)

    def _add(self, node: QuantNode) -> None:
        match node.op:
            case QuantDense() | QuantConv2D() | QuantDepthwiseConv2D():
                if is_wide_layer(node, self.policy.tensor(node.inputs[0])):
                    self._add_wide(node, node.op)
                else:
                    self._add_narrow(node, node.op)
            case QuantTable():
                self._add_table(node, node.op)
            case QuantMul() | QuantRescale():
                self._add_product(node, node.op)
            case Flatten():
                if node.inputs[0] in self.integers:
                    source = self.integers[node.inputs[0]]
                    self.integers[node.name] = layers.reshape(
                        self.file, source, self._integer_value(node.name)
                    )
                else:
                    self.offsets[node.name] = layers.reshape(
                        self.file, self._offsets(node.inputs[0]), self._float_value(node.name)
                    )
            case Columns(first=first):
                self._add_columns(node, first)
            case Concat():
                self._add_concat(node)
            case Add() | QuantAdd():
                self._add_sum(node)
            case MaxPool2D() | QuantAveragePool2D():
                self._add_pool(node, node.op)
            case QuantMean():
                averaged = layers.mean(
                    self.file, self._integers(node.inputs[0]), self._integer_value(node.name)
                )
                self.integers[node.name] = self._clamped(node.name, averaged)

    def _add_narrow(self, node: QuantNode, op: QuantWeighted) -> None:
        source, target = self._integers(node.inputs[0]), node.output
        assert source.tensor is not None
        assert target is not None
        check_multiplier(node, op, source.tensor)
        weights, axis = _weights_as_stored(op)
        w = self.file.constant(f"{node.name}/weights", weights, op.weight_scale, 0, axis)
        b = self.file.constant(f"{node.name}/bias", op.bias, source.tensor.scale * op.weight_scale)
        is_relu = target.qmin == target.zero_point > INT8_MIN and target.qmax == INT8_MAX
        result = self._weighted(
            source, op, w, b, self._integer_value(node.name), "RELU" if is_relu else "NONE"
        )
        self.integers[node.name] = result if is_relu else self._clamped(node.name, result)

    def _add_wide(self, node: QuantNode, op: QuantWeighted) -> None:
        """float32 layer on offsets with integer weights, then multiplier, round half even, clamp:
        all exact but the product.
        """
        source, target = self._offsets(node.inputs[0]), node.output
        weights, _ = _weights_as_stored(op)
        packed = self.file.constant(f"{node.name}/weights", weights, np.ones(1, np.float32))
        w = self.file.unpacked(
            f"{node.name}/weights/float", weights.shape
        )  # LiteRT unpacks it once, when it loads the file
        self.file.operator(OPS.DEQUANTIZE, 2, [packed], w, schema.DequantizeOptionsT())
        b = self.file.constant(f"{node.name}/bias", op.bias.astype(np.float32))
        acc = self._weighted(source, op, w, b, self._float_value(node.name, "/accumulators"))
        m = self.file.constant(f"{node.name}/multiplier", op.multiplier)
        if target is None:
            value = self._float_value(node.name)
            self.offsets[node.name] = layers.binary(
                self.file, OPS.MUL, 1, (acc.index, m), value, schema.MulOptionsT()
            )
            return
        self._add_rescaled(node.name, acc, m, target)

    def _add_product(self, node: QuantNode, op: QuantMul | QuantRescale) -> None:
        """A product of offsets, or offsets alone, below 2^24, then as in a wide layer."""
        target = node.output
        assert target is not None
        acc = self._offsets(node.inputs[0])
        if isinstance(op, QuantMul):
            b = self._offsets(node.inputs[1])
            value = self._float_value(node.name, "/accumulators")
            acc = layers.binary(
                self.file, OPS.MUL, 1, (acc.index, b.index), value, schema.MulOptionsT()
            )
        m = self.file.constant(f"{node.name}/multiplier", np.array([op.multiplier], np.float32))
        self._add_rescaled(node.name, acc, m, target)

    def _add_rescaled(self, name: str, acc: Value, m: int, target: QuantTensor) -> None:
        value = self._float_value(name, "/product")
        product = layers.binary(self.file, OPS.MUL, 1, (acc.index, m), value, schema.MulOptionsT())
        rounded = self._float_value(name, "/rounded")
        self.file.operator(OPS.ROUND, 1, [product.index], rounded.index)
        self.offsets[name] = self._clamped_offsets(name, rounded, target)

    def _add_table(self, node: QuantNode, op: QuantTable) -> None:
        source, target = self.policy.tensor(node.inputs[0]), node.output
        assert target is not None
        if node.name in self.native:
            code, _, _ = NATIVE_FUNCTIONS[op.function]
            self.integers[node.name] = self._integer_value(node.name)
            self.file.operator(
                code, 2, [self._integers(node.inputs[0]).index], self.integers[node.name].index
            )
            return
        shape = self.shapes[node.name]
        if node.inputs[0] in self.integers:
            x, first = self.integers[node.inputs[0]], source.qmin
        else:
            x, first = self._offsets(node.inputs[0]), source.qmin - source.zero_point
        index = layers.cast(
            self.file, x.index, self._plain(f"{node.name}/integer", shape, np.int32)
        )
        if first != 0:
            shift = self.file.constant(f"{node.name}/first", np.array([-first], np.int32))
            moved = self._plain(f"{node.name}/index", shape, np.int32)
            index = layers.binary(
                self.file, OPS.ADD, 1, (index.index, shift), moved, schema.AddOptionsT()
            )
        if target.is_int8:
            table, output = op.table.astype(np.int8), self._integer_value(node.name)
            self.integers[node.name] = output
        else:
            offsets = op.table.astype(np.int32) - target.zero_point
            dtype = np.int16 if np.abs(offsets).max() <= np.iinfo(np.int16).max else np.int32
            table, output = offsets.astype(dtype), self._plain(f"{node.name}/offset", shape, dtype)
        entries = self.file.constant(f"{node.name}/table", table)
        self.file.operator(
            OPS.GATHER, 4, [entries, index.index], output.index, schema.GatherOptionsT()
        )
        if not target.is_int8:
            self.offsets[node.name] = layers.cast(
                self.file, output.index, self._float_value(node.name)
            )

    def _add_columns(self, node: QuantNode, first: int) -> None:
        if node.inputs[0] in self.integers:
            x, output = self.integers[node.inputs[0]], self._integer_value(node.name)
            self.integers[node.name] = layers.columns(self.file, x, first, output)
        else:
            x, output = self._offsets(node.inputs[0]), self._float_value(node.name)
            self.offsets[node.name] = layers.columns(self.file, x, first, output)

    def _add_concat(self, node: QuantNode) -> None:
        check_equal_tensors(node, self.policy)
        if node.output is not None and node.output.is_int8:
            parts = [self._integers(name) for name in node.inputs]
            self.integers[node.name] = layers.concat(
                self.file, parts, self._integer_value(node.name)
            )
        else:
            parts = [self._offsets(name) for name in node.inputs]
            self.offsets[node.name] = layers.concat(self.file, parts, self._float_value(node.name))

    def _add_pool(self, node: QuantNode, op: MaxPool2D | QuantAveragePool2D) -> None:
        check_equal_tensors(node, self.policy)
        window = Window(op.kernel, op.stride, op.padding, True)
        code = OPS.MAX_POOL_2D if isinstance(op, MaxPool2D) else OPS.AVERAGE_POOL_2D
        target = node.output
        assert target is not None
        if target.is_int8:
            pooled = layers.pool(
                self.file,
                code,
                self._integers(node.inputs[0]),
                window,
                self._integer_value(node.name),
            )
            self.integers[node.name] = self._clamped(node.name, pooled)
        else:
            pooled = layers.pool(
                self.file,
                code,
                self._offsets(node.inputs[0]),
                window,
                self._float_value(node.name, "/pooled"),
            )
            self.offsets[node.name] = self._clamped_offsets(node.name, pooled, target)

    def _add_sum(self, node: QuantNode) -> None:
        if isinstance(node.op, Add):
            check_equal_tensors(node, self.policy)
        target = node.output
        assert target is not None
        if target.is_int8:
            a, b = (self._integers(name).index for name in node.inputs)
            total = layers.binary(
                self.file, OPS.ADD, 2, (a, b), self._integer_value(node.name), schema.AddOptionsT()
            )
            self.integers[node.name] = self._clamped(node.name, total)
        else:
            a, b = (self._offsets(name).index for name in node.inputs)
            total = layers.binary(
                self.file,
                OPS.ADD,
                1,
                (a, b),
                self._float_value(node.name, "/sum"),
                schema.AddOptionsT(),
            )
            self.offsets[node.name] = self._clamped_offsets(node.name, total, target)

    def _weighted(
        self,
        x: Value,
        op: QuantWeighted,
        weights: int,
        bias: int,
        output: Value,
        fused: str = "NONE",
    ) -> Value:
        if isinstance(op, QuantDense):
            return layers.dense(self.file, x, (weights, bias), output, fused)
        rows, cols = op.weights.shape[1:3]
        window = Window((rows, cols), op.stride, op.padding, isinstance(op, QuantDepthwiseConv2D))
        return layers.convolution(self.file, x, (weights, bias), window, output, fused)

    def _clamped(self, name: str, value: Value) -> Value:
        """Clamp int8 integers to a range narrower than int8's; both operators compare integers of
        one scale, so they are exact.
        """
        tensor = value.tensor
        assert tensor is not None
        for code, bound, limit in (
            (OPS.MAXIMUM, tensor.qmin, INT8_MIN),
            (OPS.MINIMUM, tensor.qmax, INT8_MAX),
        ):
            if bound != limit:
                constant = self.file.constant(
                    f"{name}/bound",
                    np.array([bound], np.int8),
                    np.array([tensor.scale]),
                    tensor.zero_point,
                )
                clamped = self._integer_value(name)
                value = layers.binary(
                    self.file,
                    code,
                    2,
                    (value.index, constant),
                    clamped,
                    schema.MaximumMinimumOptionsT(),
                )
        return value

    def _clamped_offsets(self, name: str, value: Value, tensor: QuantTensor) -> Value:
        for code, bound in ((OPS.MAXIMUM, tensor.qmin), (OPS.MINIMUM, tensor.qmax)):
            constant = self.file.constant(
                f"{name}/bound", np.array([bound - tensor.zero_point], np.float32)
            )
            clamped = self._float_value(name)
            value = layers.binary(
                self.file,
                code,
                1,
                (value.index, constant),
                clamped,
                schema.MaximumMinimumOptionsT(),
            )
        return value

    def _integers(self, name: str) -> Value:
        """Return the integers of a tensor, made from its offsets where a wide layer left only
        those.
        """
        if name not in self.integers:
            tensor = self.policy.tensor(name)
            shifted = self._shifted(self.offsets[name], tensor.zero_point)
            self.integers[name] = layers.cast(self.file, shifted.index, self._integer_value(name))
        return self.integers[name]

    def _offsets(self, name: str) -> Value:
        """Return q - zero_point as float32, made from the integers where a narrow layer left only
        those.
        """
        if name not in self.offsets:
            plain = layers.cast(
                self.file, self.integers[name].index, self._float_value(name, "/float")
            )
            self.offsets[name] = self._shifted(plain, -self.policy.tensor(name).zero_point)
        return self.offsets[name]

    def _shifted(self, value: Value, amount: int) -> Value:
        if amount == 0:
            return value
        constant = self.file.constant("zero_point", np.array([amount], np.float32))
        shifted = self._plain("shifted", value.shape, np.float32)
        return layers.binary(
            self.file, OPS.ADD, 1, (value.index, constant), shifted, schema.AddOptionsT()
        )

    def _integer_value(self, name: str) -> Value:
        tensor = self.policy.tensor(name)
        dtype = np.int8 if tensor.is_int8 else np.int16
        return Value(
            self.file.activation(name, self.shapes[name], dtype, tensor),
            self.shapes[name],
            dtype,
            tensor,
        )

    def _float_value(self, name: str, suffix: str = "") -> Value:
        return self._plain(name + suffix, self.shapes[name], np.float32)

    def _plain(self, name: str, shape: Shape, dtype: type[np.generic]) -> Value:
        return Value(self.file.activation(name, shape, dtype), shape, dtype)


def _weights_as_stored(op: QuantWeighted) -> tuple[NDArray[np.int8], int]:
    """Return the weights in the file's order and the axis of the output channels."""
    if isinstance(op, QuantDepthwiseConv2D):
        return op.weights.transpose(1, 2, 0)[None], 3
    return op.weights, 0
