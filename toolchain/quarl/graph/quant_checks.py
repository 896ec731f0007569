"""Whether one node of a quantised graph keeps to the limits under which all backends agree.

Limits: toolchain/docs/decisions/0001-arithmetic.md.
"""

from __future__ import annotations

from math import prod
from typing import Any, assert_never, cast

import numpy as np
from numpy.typing import NDArray

from quarl.errors import QuantizationError
from quarl.graph.litert_ops import (
    QuantAdd,
    QuantAveragePool2D,
    QuantMean,
    add_multipliers,
    mean_multiplier,
)
from quarl.graph.policy import (
    Activation,
    Add,
    Columns,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    MaxPool2D,
    Mul,
    Node,
    Op,
    output_shape,
)
from quarl.graph.quant_ops import (
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantMul,
    QuantNode,
    QuantOp,
    QuantRescale,
    QuantTable,
    QuantWeighted,
    accumulator_bound,
    is_wide_layer,
    weight_bits,
)
from quarl.graph.quant_tensor import INT8_MAX, INT8_MIN, QuantTensor
from quarl.graph.rescale import product_factor

EXACT_FLOAT_BOUND = 2**24  # every integer up to here is a float32
ACCUMULATOR_BOUND = 2**31  # int32
PRODUCT_BOUND = (
    2**22
)  # acc * multiplier beyond it is not exact in the magic-number form, and wraps on x86 from 2^31
MULTIPLIER_BOUND = 256  # LiteRT refuses the layer from here on
WEIGHT_LIMITS = {**{bits: 2 ** (bits - 1) - 1 for bits in range(2, 8)}, 8: 128}  # largest |weight|

RANKS = {QuantDense: 2, QuantConv2D: 4, QuantDepthwiseConv2D: 3}  # axes of the weights


def check_limits(node: QuantNode, input_tensor: QuantTensor) -> None:
    """Check one weighted layer against the limits under which all backends agree.

    Raises:
        QuantizationError: names the layer, the channel, the number found and the limit.
    """
    op = node.op
    assert isinstance(op, QuantWeighted)
    _check_parameters(node.name, op)
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


def _check_parameters(name: str, op: QuantWeighted) -> None:
    """Check the types, shapes and signs of a layer's numbers."""
    rank = RANKS[type(op)]
    if op.weights.ndim != rank or op.weights.size == 0:
        raise QuantizationError(
            f"{name}: weights of shape {op.weights.shape} do not fit a {type(op).__name__} layer"
        )
    count = len(op.weights)
    if (
        op.weights.dtype != np.int8
        or op.bias.dtype != np.int32
        or op.multiplier.dtype != np.float32
    ):
        types = f"{op.weights.dtype}, {op.bias.dtype}, {op.multiplier.dtype}"
        raise QuantizationError(
            f"{name}: weights, bias and rescale factors are {types}: they must be int8, "
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
            f"{name}: has {found}: of 2 to 7 bits they are at most 2^(bits - 1) - 1 either "
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
        raise QuantizationError(f"{name}: {count} channels, but {shapes}")
    for what, values in (("rescale factor", op.multiplier), ("weight scale", op.weight_scale)):
        wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if wrong.size:
            found = f"{name}, channel {wrong[0]}: the {what} is {values[wrong[0]]}"
            raise QuantizationError(
                f"{found}, it must be a positive number: the layer's weights are far too "
                "large or too small"
            )


def _refuse(name: str, values: NDArray[np.float64], limit: int, what: str, advice: str) -> None:
    channel = int(values.argmax())
    if values[channel] >= limit:
        raise QuantizationError(
            f"{name}, channel {channel}: {what} {values[channel]:,.6g}, the arithmetic allows "
            f"less than {limit:,}: {advice}"
        )


def check_op(node: QuantNode, sources: list[QuantTensor], area: int) -> None:
    """Check one node against its limits; `area` is the height times the width of its input."""
    match node.op:
        case QuantDense() | QuantConv2D() | QuantDepthwiseConv2D():
            check_limits(node, sources[0])
        case QuantTable() as op:
            _check_table(node, op, sources[0])
        case (QuantMul() | QuantRescale()) as op:
            _check_product(node, op, sources)
        case (QuantMean() | QuantAdd()) as op:
            _check_factors(node, op, sources, area)
        case MaxPool2D() | Flatten() | Columns() | Concat() | Add() | QuantAveragePool2D():
            _check_shared(node, sources)
        case other:
            assert_never(other)


def quant_output_shape(node: QuantNode, inputs: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the node's output shape without the batch."""
    if not isinstance(node.op, QuantMean):  # the one operation whose shape no float one has
        return output_shape(Node(node.name, _float_op(node), node.inputs), inputs)
    if len(inputs) != 1 or len(inputs[0]) != 3:
        raise QuantizationError(
            f"{node.name}: averages [height, width, channels], is given {inputs}"
        )
    return (1, 1, inputs[0][2]) if node.op.keeps_axes else (inputs[0][2],)


def _float_op(node: QuantNode) -> Op:
    """Return the float operation of the same shape."""
    if not isinstance(node.op, QuantOp) or (
        isinstance(node.op, QuantWeighted) and node.op.weights.ndim != RANKS[type(node.op)]
    ):
        raise QuantizationError(
            f"{node.name}: {type(node.op).__name__} with such parameters is not an operation of a "
            "quantised graph"
        )
    match node.op:
        case QuantDense(weights=weights, bias=bias):
            return Dense(cast(Any, weights), cast(Any, bias))
        case QuantConv2D(weights=weights, bias=bias, stride=stride, padding=padding):
            return Conv2D(cast(Any, weights), cast(Any, bias), stride, padding)
        case QuantDepthwiseConv2D(weights=weights, bias=bias, stride=stride, padding=padding):
            return DepthwiseConv2D(cast(Any, weights), cast(Any, bias), stride, padding)
        case QuantTable(function=function):
            return Activation("relu" if function == "identity" else function)  # of the same shape
        case QuantAveragePool2D(kernel=kernel, stride=stride, padding=padding):
            return MaxPool2D(kernel, stride, padding)
        case QuantAdd():
            return Add()
        case QuantMul():
            return Mul()
        case QuantRescale():
            return Activation("relu")  # of the same shape
        case QuantMean():
            raise AssertionError("its shape is computed by the caller")
        case (Flatten() | Columns() | Concat() | Add() | MaxPool2D()) as op:
            return op
        case other:
            assert_never(other)


def check_tensor(name: str, tensor: QuantTensor) -> None:
    """Check a tensor's integers and scale; names what is wrong."""
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


def _check_product(
    node: QuantNode, op: QuantMul | QuantRescale, sources: list[QuantTensor]
) -> None:
    """Check that the factor is what the scales give, and that float32 holds every product."""
    output = node.output
    assert output is not None
    wanted = product_factor([source.scale for source in sources], output.scale)
    if op.multiplier != float(wanted):
        raise QuantizationError(
            f"{node.name}: has the factor {op.multiplier}, its scales give {wanted}"
        )
    bound = np.array([float(prod(source.largest_offset for source in sources))])
    factor = np.array([op.multiplier])
    advice = "use narrower activations or a lower rung"
    _refuse(node.name, bound, EXACT_FLOAT_BOUND, "a product can reach", advice)
    _refuse(node.name, factor, MULTIPLIER_BOUND, "the rescale factor is", advice)
    what = "product times rescale factor can reach"
    _refuse(node.name, bound * factor, PRODUCT_BOUND, what, "calibrate with a wider range")


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
