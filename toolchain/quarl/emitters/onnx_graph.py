"""The int8 `.onnx` file of a quantised policy, equal to the NumPy reference bit for bit in ONNX
Runtime (decision 0001).

In: a QuantPolicy. Out: the file's bytes; input "observation" int8 [batch, ...] in the order
[height, width, channels] (int16 where the observation is wide), output "output" int8 [batch, count]
(float32 for a wide head).

Narrow layers are standard QDQ, weights per channel. Inside, every int8 is held as the byte q + 128,
weights too: of the four signednesses this one alone is exact on every CPU in a default session
(decision 0003). With graph optimisation off ONNX Runtime computes these layers in float, which is
not exact.
Wide layers compute on float32 values that hold q - zero_point, exact below 2^24.
Images travel as [channels, height, width] between convolutions, as the operators want them.
"""

from __future__ import annotations

import numpy as np

from quarl.emitters.checks import check_equal_tensors, check_multiplier
from quarl.emitters.onnx_bytes import OFFSET, as_bytes, weights_as_stored
from quarl.emitters.onnx_file import OUTPUT, OnnxFile, onnx_pads, onnx_type
from quarl.emitters.provenance import provenance
from quarl.graph.litert_ops import QuantAdd, QuantAveragePool2D, QuantMean, pool_counts
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
from quarl.graph.shapes import quant_shapes


def emit_onnx(policy: QuantPolicy) -> bytes:
    """Return the `.onnx` file of the policy; the same policy gives the same bytes.

    Raises:
        QuantizationError: scales that do not give the stored multipliers, or tensors that should be
            equal and are not.
    """
    return _Writer(policy).write()


class _Writer:
    """Walks the nodes once. A tensor exists as integers, as float32 offsets (q - zero_point), or as
    both where both are read.
    """

    def __init__(self, policy: QuantPolicy) -> None:
        self.policy = policy
        self.shapes = quant_shapes(policy)
        self.file = OnnxFile()
        self.integers: dict[str, str] = {}  # bytes, or int16 for a wide observation
        self.offsets: dict[str, str] = {}

    def write(self) -> bytes:
        tensor, shape = self.policy.observation.tensor, self.shapes[INPUT]
        self.integers[INPUT] = self._input(INPUT, tensor)
        if len(shape) == 3:
            self.integers[INPUT] = self.file.node(
                "Transpose", [self.integers[INPUT]], "channels_first", perm=[0, 3, 1, 2]
            )
        for state in self.policy.state:
            self.integers[state.tensor_name] = self._input(f"state_{state.name}", state.tensor)
        for node in self.policy.nodes:
            self._add(node)
        last = self.policy.nodes[-1]
        graph_input = (INPUT, np.dtype(np.int8 if tensor.is_int8 else np.int16), shape)
        graph_output = (OUTPUT, np.dtype(self.policy.head_dtype), self.shapes[last.name])
        states = []
        for one in self.policy.state:
            vector = (np.dtype(one.dtype), self.shapes[one.tensor_name])
            ends = (f"state_{one.name}", *vector), (f"next_{one.name}", *vector)
            states.append((ends[0], self._result(one.next), ends[1]))
        entries = provenance(self.policy)
        return self.file.finish(graph_input, self._result(last.name), graph_output, entries, states)

    def _input(self, name: str, tensor: QuantTensor) -> str:
        """Return the integers of an input as the graph holds them."""
        return self._recoded(name, "bytes", tensor, np.int8, np.uint8) if tensor.is_int8 else name

    def _result(self, name: str) -> str:
        """Return a tensor as an artifact gives it: int8, int16, or the wide head's float32."""
        if name == self.policy.nodes[-1].name and self.policy.has_wide_head:
            return self.offsets[name]
        tensor, integers = self.policy.tensor(name), self._integers(name)
        if not tensor.is_int8:
            return integers
        return self._recoded(integers, "signed", tensor, np.uint8, np.int8)

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
                held = self.integers if node.inputs[0] in self.integers else self.offsets
                is_image = len(self.shapes[node.inputs[0]]) == 3
                held[node.name] = self.file.flattened(held[node.inputs[0]], node.name, is_image)
            case Columns(first=first, shape=shape):
                held = self.integers if node.inputs[0] in self.integers else self.offsets
                held[node.name] = self.file.columns(held[node.inputs[0]], node.name, first, shape)
            case Concat():
                check_equal_tensors(node, self.policy)
                axis = 1  # channels, whether the value is a vector or an image
                if node.output is not None and node.output.is_int8:
                    self.integers[node.name] = self.file.node(
                        "Concat", [self._integers(n) for n in node.inputs], node.name, axis=axis
                    )
                else:
                    self.offsets[node.name] = self.file.node(
                        "Concat", [self._offsets(n) for n in node.inputs], node.name, axis=axis
                    )
            case Add():
                self._add_sum(node)
            case MaxPool2D():
                self._add_max_pool(node, node.op)
            case QuantAveragePool2D():
                self.offsets[node.name] = self._clamped_offsets(
                    node.name, self._average(node, node.op), self.policy.tensor(node.name)
                )
            case QuantMean():
                self._add_mean(node, node.op)
            case QuantAdd():
                self._add_scaled_sum(node, node.op)

    def _add_narrow(self, node: QuantNode, op: QuantWeighted) -> None:
        source, target = self.policy.tensor(node.inputs[0]), node.output
        assert target is not None
        check_multiplier(node, op, source)
        x = self._dequantized(node.inputs[0])
        weights = self.file.constant(f"{node.name}/weights", as_bytes(weights_as_stored(op)))
        scale = self.file.constant(f"{node.name}/weight_scale", op.weight_scale)
        zero = self.file.constant("zero_point", np.full(len(op.bias), OFFSET, np.uint8))
        w = self.file.node(
            "DequantizeLinear", [weights, scale, zero], f"{node.name}/weights/real", axis=0
        )
        bias = self.file.constant(f"{node.name}/bias", op.bias)
        bias_scale = self.file.constant(f"{node.name}/bias_scale", source.scale * op.weight_scale)
        bias_zero = self.file.constant("zero_point", np.zeros(len(op.bias), np.int32))
        b = self.file.node(
            "DequantizeLinear", [bias, bias_scale, bias_zero], f"{node.name}/bias/real", axis=0
        )
        real = self._weighted(node.name, op, x, w, b)
        self.integers[node.name] = self._quantized(node.name, real, target)

    def _add_wide(self, node: QuantNode, op: QuantWeighted) -> None:
        """float32 layer on offsets with integer weights, then multiplier, round half even, clamp:
        all exact but the product.
        """
        x, target = self._offsets(node.inputs[0]), node.output
        weights = self.file.constant(f"{node.name}/weights", weights_as_stored(op))
        w = self.file.node(
            "Cast", [weights], f"{node.name}/weights/float", to=onnx_type(np.float32)
        )  # folded when the file is loaded
        b = self.file.constant(f"{node.name}/bias", op.bias.astype(np.float32))
        acc = self._weighted(f"{node.name}/accumulators", op, x, w, b)
        if not isinstance(op, QuantDense):
            # Leaves the integers as they are; between Conv and Mul it keeps ONNX Runtime from
            # folding the multiplier into the weights.
            acc = self.file.node("Round", [acc], f"{node.name}/whole")
        multiplier = op.multiplier if isinstance(op, QuantDense) else op.multiplier[:, None, None]
        m = self.file.constant(f"{node.name}/multiplier", multiplier)
        if target is None:
            self.offsets[node.name] = self.file.node("Mul", [acc, m], node.name)
            return
        self._add_rescaled(node.name, acc, m, target)

    def _add_product(self, node: QuantNode, op: QuantMul | QuantRescale) -> None:
        """A product of offsets, or offsets alone, below 2^24, then as in a wide layer."""
        assert node.output is not None
        acc = self._offsets(node.inputs[0])
        if isinstance(op, QuantMul):
            parts = [acc, self._offsets(node.inputs[1])]
            acc = self.file.node("Mul", parts, f"{node.name}/accumulators")
        m = self.file.constant(f"{node.name}/multiplier", np.array(op.multiplier, np.float32))
        self._add_rescaled(node.name, acc, m, node.output)

    def _add_rescaled(self, name: str, acc: str, m: str, target: QuantTensor) -> None:
        product = self.file.node("Mul", [acc, m], f"{name}/product")
        rounded = self.file.node("Round", [product], f"{name}/rounded")
        self.offsets[name] = self._clamped_offsets(name, rounded, target)

    def _add_table(self, node: QuantNode, op: QuantTable) -> None:
        source, target = self.policy.tensor(node.inputs[0]), node.output
        assert target is not None
        if node.inputs[0] in self.integers:
            x, first = (
                self.integers[node.inputs[0]],
                source.qmin + (OFFSET if source.is_int8 else 0),
            )
        else:
            x, first = self._offsets(node.inputs[0]), source.qmin - source.zero_point
        index = self.file.node("Cast", [x], f"{node.name}/integer", to=onnx_type(np.int32))
        if first != 0:
            shift = self.file.constant("first", np.array(first, np.int32))
            index = self.file.node("Sub", [index, shift], f"{node.name}/index")
        if target.is_int8:
            entries = self.file.constant(f"{node.name}/table", as_bytes(op.table))
            self.integers[node.name] = self.file.node("Gather", [entries, index], node.name)
        else:
            entries = self.file.constant(
                f"{node.name}/table",
                (op.table.astype(np.int32) - target.zero_point).astype(np.float32),
            )
            self.offsets[node.name] = self.file.node("Gather", [entries, index], node.name)

    def _add_sum(self, node: QuantNode) -> None:
        check_equal_tensors(node, self.policy)
        target = node.output
        assert target is not None
        if target.is_int8:
            total = self.file.node(
                "Add", [self._dequantized(name) for name in node.inputs], f"{node.name}/sum"
            )
            self.integers[node.name] = self._quantized(node.name, total, target)
        else:
            total = self.file.node(
                "Add", [self._offsets(name) for name in node.inputs], f"{node.name}/sum"
            )
            self.offsets[node.name] = self._clamped_offsets(node.name, total, target)

    def _add_max_pool(self, node: QuantNode, op: MaxPool2D) -> None:
        check_equal_tensors(node, self.policy)
        target = self.policy.tensor(node.name)
        window = {
            "kernel_shape": list(op.kernel),
            "strides": list(op.stride),
            "pads": onnx_pads(op.padding),
        }
        if target.is_int8:
            pooled = self.file.node(
                "MaxPool", [self._integers(node.inputs[0])], f"{node.name}/pooled", **window
            )
            self.integers[node.name] = self._clamped(node.name, pooled, target)
        else:
            pooled = self.file.node(
                "MaxPool", [self._offsets(node.inputs[0])], f"{node.name}/pooled", **window
            )
            self.offsets[node.name] = self._clamped_offsets(node.name, pooled, target)

    def _average(self, node: QuantNode, op: QuantAveragePool2D) -> str:
        """Return the rounded mean of each window less the zero point: whole numbers below 2^24 in
        float32, in every step but the division, which comes no nearer to the next whole number than
        1 / count."""
        source, zero_point = node.inputs[0], self.policy.tensor(node.name).zero_point
        channels = self.shapes[source][2]
        ones = self.file.constant("ones", np.ones((channels, 1, *op.kernel), np.float32))
        raw = self._shifted(self._offsets(source), zero_point)
        window = {
            "kernel_shape": list(op.kernel),
            "strides": list(op.stride),
            "pads": onnx_pads(op.padding),
            "group": channels,
        }
        total = self.file.node("Conv", [raw, ones], f"{node.name}/sum", **window)
        counts = pool_counts(op, self.shapes[source][:2])
        half = self.file.constant(f"{node.name}/half", (counts // 2).astype(np.float32)[None, None])
        count = self.file.constant(f"{node.name}/count", counts.astype(np.float32)[None, None])
        size = self.file.node(
            "Add", [self.file.node("Abs", [total], f"{node.name}/size"), half], f"{node.name}/more"
        )
        mean = self.file.node(
            "Floor",
            [self.file.node("Div", [size, count], f"{node.name}/mean")],
            f"{node.name}/whole",
        )
        signed = self.file.node(
            "Mul",
            [mean, self.file.node("Sign", [total], f"{node.name}/sign")],
            f"{node.name}/signed",
        )
        return self._shifted(signed, -zero_point)

    def _add_mean(self, node: QuantNode, op: QuantMean) -> None:
        target = self.policy.tensor(node.name)
        axes = self.file.constant("axes", np.array([2, 3], np.int64))
        keeps = int(op.keeps_axes)
        total = self.file.node(
            "ReduceSum", [self._offsets(node.inputs[0]), axes], f"{node.name}/sum", keepdims=keeps
        )
        m = self.file.constant(f"{node.name}/multiplier", np.array(op.multiplier, np.float32))
        moved = self._shifted(
            self.file.node("Mul", [total, m], f"{node.name}/product"), target.zero_point
        )
        rounded = self.file.node("Round", [moved], f"{node.name}/rounded")
        self.offsets[node.name] = self._clamped_offsets(
            node.name, self._shifted(rounded, -target.zero_point), target
        )

    def _add_scaled_sum(self, node: QuantNode, op: QuantAdd) -> None:
        """In float64, which holds all of it exactly."""
        target = self.policy.tensor(node.name)
        parts = []
        for name, multiplier in zip(node.inputs, (op.left, op.right), strict=True):
            double = self.file.node(
                "Cast", [self._offsets(name)], f"{node.name}/part", to=onnx_type(np.float64)
            )
            factor = self.file.constant("factor", np.array(multiplier, np.float64))
            parts.append(self.file.node("Mul", [double, factor], f"{node.name}/scaled"))
        total = self.file.node("Add", parts, f"{node.name}/sum")
        unit = self.file.constant("unit", np.array(2.0**-op.shift, np.float64))
        half = self.file.constant("half", np.array(0.5, np.float64))
        steps = self.file.node(
            "Add",
            [self.file.node("Mul", [total, unit], f"{node.name}/steps"), half],
            f"{node.name}/more",
        )
        whole = self.file.node(
            "Cast",
            [self.file.node("Floor", [steps], f"{node.name}/whole")],
            f"{node.name}/float",
            to=onnx_type(np.float32),
        )
        self.offsets[node.name] = self._clamped_offsets(node.name, whole, target)

    def _weighted(self, name: str, op: QuantWeighted, x: str, w: str, b: str) -> str:
        if isinstance(op, QuantDense):
            return self.file.node("Gemm", [x, w, b], f"{name}/sum", transB=1)
        groups = len(op.weights) if isinstance(op, QuantDepthwiseConv2D) else 1
        kernel = list(op.weights.shape[1:3])
        return self.file.node(
            "Conv",
            [x, w, b],
            f"{name}/sum",
            kernel_shape=kernel,
            strides=list(op.stride),
            pads=onnx_pads(op.padding),
            group=groups,
        )

    def _dequantized(self, name: str) -> str:
        tensor = self.policy.tensor(name)
        return self.file.node(
            "DequantizeLinear", [self._integers(name), *self._scale(tensor)], f"{name}/real"
        )

    def _quantized(self, name: str, real: str, tensor: QuantTensor) -> str:
        return self._clamped(
            name, self.file.node("QuantizeLinear", [real, *self._scale(tensor)], name), tensor
        )

    def _clamped(self, name: str, integers: str, tensor: QuantTensor) -> str:
        """Return bytes clamped to the bounds of an int8 tensor."""
        if (tensor.qmin, tensor.qmax) == (INT8_MIN, INT8_MAX):
            return integers
        low, high = (
            self.file.constant("bound", np.array(bound + OFFSET, np.uint8))
            for bound in (tensor.qmin, tensor.qmax)
        )
        return self.file.node("Clip", [integers, low, high], f"{name}/clamped")

    def _recoded(
        self,
        value: str,
        name: str,
        tensor: QuantTensor,
        old: type[np.generic],
        new: type[np.generic],
    ) -> str:
        """Return int8 integers as bytes, or bytes as int8; exact: the real number in between lies
        within a millionth of a step.
        """
        real = self.file.node(
            "DequantizeLinear", [value, *self._scale(tensor, old)], f"{name}/real"
        )
        return self.file.node("QuantizeLinear", [real, *self._scale(tensor, new)], name)

    def _scale(self, tensor: QuantTensor, dtype: type[np.generic] = np.uint8) -> tuple[str, str]:
        zero_point = tensor.zero_point + (OFFSET if dtype == np.uint8 else 0)
        scale = self.file.constant("scale", np.array(tensor.scale, np.float32))
        return scale, self.file.constant("zero_point", np.array(zero_point, dtype))

    def _clamped_offsets(self, name: str, value: str, tensor: QuantTensor) -> str:
        bounds = (
            np.array(bound - tensor.zero_point, np.float32) for bound in (tensor.qmin, tensor.qmax)
        )
        return self.file.node(
            "Clip", [value, *(self.file.constant("bound", bound) for bound in bounds)], name
        )

    def _integers(self, name: str) -> str:
        """Return the integers of a tensor, made from its offsets where a wide layer left only
        those.
        """
        if name not in self.integers:
            tensor = self.policy.tensor(name)
            shifted = self._shifted(
                self.offsets[name], tensor.zero_point + (OFFSET if tensor.is_int8 else 0)
            )
            dtype = np.uint8 if tensor.is_int8 else np.int16
            self.integers[name] = self.file.node(
                "Cast", [shifted], f"{name}/integers", to=onnx_type(dtype)
            )
        return self.integers[name]

    def _offsets(self, name: str) -> str:
        """Return q - zero_point as float32, made from the integers where a narrow layer left only
        those.
        """
        if name not in self.offsets:
            tensor = self.policy.tensor(name)
            plain = self.file.node(
                "Cast", [self.integers[name]], f"{name}/float", to=onnx_type(np.float32)
            )
            self.offsets[name] = self._shifted(
                plain, -(tensor.zero_point + (OFFSET if tensor.is_int8 else 0))
            )
        return self.offsets[name]

    def _shifted(self, value: str, amount: int) -> str:
        if amount == 0:
            return value
        return self.file.node(
            "Add",
            [value, self.file.constant("zero_point", np.array(amount, np.float32))],
            "shifted",
        )
