"""The quantised policy: integers, scales and zero points, from which every artifact is written.

In: what `quantize` decided. Out: the single source of truth for the NumPy reference, `.tflite`,
`.onnx` and C.
Arithmetic: toolchain/docs/decisions/0001-arithmetic.md. A tensor is narrow (int8) or wide (more
    than 8 bits, exact on every
target because each layer that reads or makes one keeps its accumulators below 2^24, where float32
holds integers exactly).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from quarl.errors import QuantizationError
from quarl.graph.contract import Contract
from quarl.graph.litert_ops import (
    QuantAdd,
    QuantAveragePool2D,
    QuantMean,
    add_multipliers,
    mean_multiplier,
)
from quarl.graph.policy import (
    INPUT,
    Activation,
    Add,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    MaxPool2D,
    Node,
    Op,
    output_shape,
)
from quarl.graph.quant_ops import (
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantNode,
    QuantOp,
    QuantTable,
    QuantWeighted,
    TableFunction,
    accumulator_bound,
    is_wide_layer,
    stored_bits,
    weight_bits,
)
from quarl.graph.quant_tensor import INT8_MAX, INT8_MIN, ObservationQuantizer, QuantTensor

__all__ = [
    "ACCUMULATOR_BOUND",
    "EXACT_FLOAT_BOUND",
    "INT8_MAX",
    "INT8_MIN",
    "MULTIPLIER_BOUND",
    "PRODUCT_BOUND",
    "ObservationQuantizer",
    "QuantConv2D",
    "QuantDense",
    "QuantDepthwiseConv2D",
    "QuantNode",
    "QuantOp",
    "QuantPolicy",
    "QuantTable",
    "QuantTensor",
    "QuantWeighted",
    "TableFunction",
    "accumulator_bound",
    "check_limits",
    "is_wide_layer",
    "stored_bits",
    "weight_bits",
]

EXACT_FLOAT_BOUND = 2**24  # every integer up to here is a float32
ACCUMULATOR_BOUND = 2**31  # int32
PRODUCT_BOUND = (
    2**22
)  # acc * multiplier beyond it is not exact in the magic-number form, and wraps on x86 from 2^31
MULTIPLIER_BOUND = 256  # LiteRT refuses the layer from here on
WEIGHT_LIMITS = {**{bits: 2 ** (bits - 1) - 1 for bits in range(2, 8)}, 8: 128}  # largest |weight|
ZERO_POINT_BOUND = 2**22  # of an observation feature: leaves its clamps exact in float32


@dataclass(frozen=True, slots=True)
class QuantPolicy:
    """A quantised policy: observation quantiser, integer nodes in topological order, contract.

    The names of inputs are earlier nodes or `quarl.graph.policy.INPUT`. Construction enforces every
    limit of the arithmetic.
    """

    observation: ObservationQuantizer
    nodes: tuple[QuantNode, ...]
    contract: Contract
    rung: int | None  # of the ladder; None where the integers are those of an int8 file
    source_sha256: str
    # of a softmax that the file ended in; no node, since it is outside the exact set
    softmax_beta: float | None = None

    def __post_init__(self) -> None:
        _check_observation(
            self.observation,
            self.contract.observation.graph_shape,
            is_image=self.contract.observation.is_image,
        )
        _check_nodes(self)
        if self.softmax_beta is not None and not (
            self.softmax_beta > 0 and np.isfinite(np.float32(self.softmax_beta))
        ):
            raise QuantizationError(
                f"the softmax has the factor {self.softmax_beta}, it must be a positive number"
            )

    def tensor(self, name: str) -> QuantTensor:
        """Return the tensor of a node or of `INPUT`.

        Raises:
            KeyError: no such tensor, or the wide head's real-valued result.
        """
        if name == INPUT:
            return self.observation.tensor
        for node in self.nodes:
            if node.name == name and node.output is not None:
                return node.output
        raise KeyError(name)

    @property
    def has_wide_head(self) -> bool:
        """Whether the last layer's accumulators decide, without an output step."""
        return self.nodes[-1].output is None

    @property
    def output_dtype(self) -> type[np.int8] | type[np.int16] | type[np.float32]:
        """Type of the artifacts' output: int8, int16 for a wide squashed action, float32 (already
        in real units) for a wide head.
        """
        last = self.nodes[-1].output
        if last is None:
            return np.float32
        return np.int8 if last.is_int8 else np.int16

    @property
    def parameter_bytes(self) -> int:
        """Bytes of weights (int8, or two to a byte), biases (int32), multipliers (float32) and
        tables as the C runtime stores them.
        """
        total = self.observation.inv_scale.nbytes + self.observation.zero_point.nbytes
        for node in self.nodes:
            if isinstance(node.op, QuantWeighted):
                total += (
                    node.op.weights.nbytes * stored_bits(node.op) // 8
                    + node.op.bias.nbytes
                    + node.op.multiplier.nbytes
                )
            elif isinstance(node.op, QuantTable):
                total += node.op.table.size * (
                    1 if node.output is not None and node.output.is_int8 else 2
                )
        return total


def check_limits(node: QuantNode, input_tensor: QuantTensor) -> None:
    """Check one weighted layer against the limits under which all backends agree.

    Raises:
        QuantizationError: names the layer, the channel, the number found and the limit.
    """
    op = node.op
    assert isinstance(op, QuantWeighted)
    rank = {QuantDense: 2, QuantConv2D: 4, QuantDepthwiseConv2D: 3}[type(op)]
    if op.weights.ndim != rank or op.weights.size == 0:
        raise QuantizationError(
            f"{node.name}: weights of shape {op.weights.shape} do not fit a "
            f"{type(op).__name__} layer"
        )
    count = len(op.weights)
    if (
        op.weights.dtype != np.int8
        or op.bias.dtype != np.int32
        or op.multiplier.dtype != np.float32
    ):
        types = f"{op.weights.dtype}, {op.bias.dtype}, {op.multiplier.dtype}"
        raise QuantizationError(
            f"{node.name}: weights, bias and rescale factors are {types}: they must be int8, "
            "int32, float32"
        )
    bits = weight_bits(op)
    if (
        type(bits) is not int
        or bits not in WEIGHT_LIMITS
        or np.abs(op.weights.astype(np.int16)).max() > WEIGHT_LIMITS[bits]
    ):
        found = f"{bits}-bit weights from {op.weights.min()} to {op.weights.max()}"
        raise QuantizationError(
            f"{node.name}: has {found}: of 2 to 7 bits they are at most 2^(bits - 1) - 1 either "
            "way, of 8 bits -128 to 127"
        )
    if (
        not op.bias.shape == op.multiplier.shape == op.weight_scale.shape == (count,)
        or op.weight_scale.dtype != np.float32
    ):
        shapes = (
            f"{op.bias.shape} biases, {op.multiplier.shape} rescale factors and "
            f"{op.weight_scale.shape} {op.weight_scale.dtype} scales"
        )
        raise QuantizationError(f"{node.name}: {count} channels, but {shapes}")
    for what, values in (("rescale factor", op.multiplier), ("weight scale", op.weight_scale)):
        wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if wrong.size:
            found = f"{node.name}, channel {wrong[0]}: the {what} is {values[wrong[0]]}"
            raise QuantizationError(
                f"{found}, it must be a positive number: the layer's weights are far too "
                "large or too small"
            )
    bound = accumulator_bound(op, input_tensor)
    limit = EXACT_FLOAT_BOUND if is_wide_layer(node, input_tensor) else ACCUMULATOR_BOUND
    _refuse(
        node.name,
        bound.astype(np.float64),
        limit,
        "an accumulator can reach",
        "use narrower activations or a lower rung",
    )
    if node.output is not None:
        _refuse(
            node.name,
            op.multiplier.astype(np.float64),
            MULTIPLIER_BOUND,
            "the rescale factor is",
            "the output range is too narrow",
        )
        product: NDArray[np.float64] = bound.astype(np.float64) * op.multiplier
        _refuse(
            node.name,
            product,
            PRODUCT_BOUND,
            "accumulator times rescale factor can reach",
            "calibrate with a wider range",
        )


def _refuse(name: str, values: NDArray[np.float64], limit: int, what: str, advice: str) -> None:
    channel = int(values.argmax())
    if values[channel] >= limit:
        raise QuantizationError(
            f"{name}, channel {channel}: {what} {values[channel]:,.6g}, the arithmetic allows "
            f"less than {limit:,}: {advice}"
        )


def _check_observation(
    quantizer: ObservationQuantizer, shape: tuple[int, ...], *, is_image: bool
) -> None:
    _check_tensor("the observation", quantizer.tensor)
    wanted = (0,) if is_image else shape
    if quantizer.inv_scale.dtype != np.float32 or quantizer.zero_point.dtype != np.int32:
        raise QuantizationError(
            f"the observation's scales are {quantizer.inv_scale.dtype}, zero points "
            f"{quantizer.zero_point.dtype}"
        )
    if quantizer.inv_scale.shape != wanted or quantizer.zero_point.shape != wanted:
        found = f"{quantizer.inv_scale.shape} scales and {quantizer.zero_point.shape} zero points"
        raise QuantizationError(
            f"the observation has shape {shape}, but {found}: they must be {wanted}"
        )
    if is_image and (quantizer.tensor.zero_point, quantizer.tensor.qmin, quantizer.tensor.qmax) != (
        INT8_MIN,
        INT8_MIN,
        INT8_MAX,
    ):
        raise QuantizationError(
            f"pixels are int8 with zero point {INT8_MIN}, the observation's tensor is "
            f"{quantizer.tensor}"
        )
    wrong = np.flatnonzero(~(np.isfinite(quantizer.inv_scale) & (quantizer.inv_scale > 0)))
    if wrong.size:
        raise QuantizationError(
            f"observation feature {wrong[0]}: 1 / scale is {quantizer.inv_scale[wrong[0]]}, "
            "not a positive number"
        )
    far = np.flatnonzero(np.abs(quantizer.zero_point.astype(np.int64)) >= ZERO_POINT_BOUND)
    if far.size:
        found = f"observation feature {far[0]}: the zero point is {quantizer.zero_point[far[0]]:,}"
        raise QuantizationError(
            f"{found}, the arithmetic allows less than {ZERO_POINT_BOUND:,} either way: "
            "subtract the feature's offset"
        )


def _check_nodes(policy: QuantPolicy) -> None:
    """Check names, shapes, types, limits and shared scales of the whole graph, as
    `quarl.graph.policy.check_graph` does for floats.
    """
    if not policy.nodes:
        raise QuantizationError("the policy has no layers")
    shapes: dict[str, tuple[int, ...]] = {INPUT: policy.contract.observation.graph_shape}
    for node in policy.nodes:
        if not isinstance(node.name, str):
            raise QuantizationError(f"a layer's name is {node.name!r}, it must be text")
        unknown = [name for name in node.inputs if name not in shapes]
        if unknown or node.name in shapes:
            raise QuantizationError(
                f"{node.name}: input {unknown} is missing or comes later"
                if unknown
                else f"two layers are {node.name!r}"
            )
        if node.output is not None:
            _check_tensor(node.name, node.output)
        elif node is not policy.nodes[-1] or not isinstance(node.op, QuantWeighted):
            raise QuantizationError(
                f"{node.name}: only a last layer with weights may leave its accumulators unrounded"
            )
        shapes[node.name] = _output_shape(node, [shapes[name] for name in node.inputs])
        sources = [policy.tensor(name) for name in node.inputs]
        if isinstance(node.op, QuantWeighted):
            check_limits(node, sources[0])
        elif isinstance(node.op, QuantTable):
            _check_table(node, node.op, sources[0])
        elif isinstance(node.op, QuantMean | QuantAdd):
            _check_factors(node, node.op, sources, prod(shapes[node.inputs[0]][:2]))
        else:
            _check_shared(node, sources)
    if shapes[policy.nodes[-1].name] != (policy.contract.action.count,):
        raise QuantizationError(
            f"the network ends with shape {shapes[policy.nodes[-1].name]}, the action needs "
            f"{policy.contract.action.count}"
        )


def _output_shape(node: QuantNode, inputs: list[tuple[int, ...]]) -> tuple[int, ...]:
    if not isinstance(node.op, QuantMean):
        return output_shape(Node(node.name, _float_op(node), node.inputs), inputs)
    if len(inputs) != 1 or len(inputs[0]) != 3:
        raise QuantizationError(
            f"{node.name}: averages [height, width, channels], is given {inputs}"
        )
    return (1, 1, inputs[0][2]) if node.op.keeps_axes else (inputs[0][2],)


def _float_op(node: QuantNode) -> Op:
    """Return the float operation of the same shape."""
    match node.op:
        case QuantDense(weights=weights, bias=bias) if weights.ndim == 2:
            return Dense(cast(Any, weights), cast(Any, bias))
        case QuantConv2D(weights=weights, bias=bias, stride=stride, padding=padding) if (
            weights.ndim == 4
        ):
            return Conv2D(cast(Any, weights), cast(Any, bias), stride, padding)
        case QuantDepthwiseConv2D(weights=weights, bias=bias, stride=stride, padding=padding) if (
            weights.ndim == 3
        ):
            return DepthwiseConv2D(cast(Any, weights), cast(Any, bias), stride, padding)
        case QuantTable(function=function):
            return Activation("relu" if function == "identity" else function)  # of the same shape
        case QuantAveragePool2D(kernel=kernel, stride=stride, padding=padding):
            return MaxPool2D(kernel, stride, padding)
        case QuantAdd():
            return Add()
        case Flatten() | Concat() | Add() | MaxPool2D() as op:
            return op
    raise QuantizationError(
        f"{node.name}: {type(node.op).__name__} with such parameters is no operation of a "
        "quantised graph"
    )


def _check_tensor(name: str, tensor: QuantTensor) -> None:
    low, high = (INT8_MIN, INT8_MAX) if tensor.is_int8 else (-(2**15), 2**15 - 1)
    numbers = (tensor.zero_point, tensor.qmin, tensor.qmax)
    if not (low <= tensor.qmin <= tensor.qmax <= high and low <= tensor.zero_point <= high):
        raise QuantizationError(
            f"{name}: zero point, lowest and highest integer are {numbers}: they must lie in "
            f"{low} to {high}"
        )
    if not (np.isfinite(tensor.scale) and tensor.scale > 0):
        raise QuantizationError(
            f"{name}: the scale is {tensor.scale}, it must be a positive number"
        )


def _check_table(node: QuantNode, op: QuantTable, source: QuantTensor) -> None:
    assert node.output is not None
    length = source.qmax - source.qmin + 1
    if op.table.dtype != np.int16 or op.table.shape != (length,):
        raise QuantizationError(
            f"{node.name}: the table is {op.table.dtype} {op.table.shape}, it must be int16 "
            f"({length},)"
        )
    if op.table.min() < node.output.qmin or op.table.max() > node.output.qmax:
        found = f"{op.table.min()} to {op.table.max()}"
        raise QuantizationError(
            f"{node.name}: the table's entries are {found}, they must lie in "
            f"{node.output.qmin} to {node.output.qmax}"
        )


def _check_shared(node: QuantNode, sources: list[QuantTensor]) -> None:
    output = node.output
    assert output is not None
    if any(
        (source.scale, source.zero_point) != (output.scale, output.zero_point) for source in sources
    ):
        raise QuantizationError(
            f"{node.name}: joins tensors of different scale or zero point, which no target "
            "does exactly"
        )
    if isinstance(node.op, QuantAveragePool2D) and not output.is_int8:
        raise QuantizationError(
            f"{node.name}: averages integers of more than 8 bits, which no target does exactly"
        )
    is_clamped = isinstance(node.op, Add | MaxPool2D | QuantAveragePool2D)
    if not is_clamped and any(
        source.qmin < output.qmin or source.qmax > output.qmax for source in sources
    ):
        raise QuantizationError(
            f"{node.name}: copies integers beyond its own bounds {output.qmin} to {output.qmax}"
        )


def _check_factors(
    node: QuantNode, op: QuantMean | QuantAdd, sources: list[QuantTensor], count: int
) -> None:
    """Check that the factors are those which LiteRT computes from the scales, of int8 tensors."""
    output = node.output
    assert output is not None
    if not all(tensor.is_int8 for tensor in (output, *sources)):
        raise QuantizationError(
            f"{node.name}: takes or makes integers of more than 8 bits, which no target does "
            "exactly"
        )
    if isinstance(op, QuantAdd):
        found: object = op
        wanted: object = add_multipliers(sources[0], sources[1], output)
    else:
        found, wanted = op.multiplier, mean_multiplier(sources[0], output, count)
    if found != wanted:
        raise QuantizationError(f"{node.name}: has the factors {found}, its scales give {wanted}")
