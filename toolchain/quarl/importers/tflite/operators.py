"""What each operator of an int8 `.tflite` means: one function per kind, which adds nodes to the
walk or refuses by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from quarl.emitters.tflite_file import TfliteFile
from quarl.emitters.tflite_layers import OPS
from quarl.errors import DeviceError
from quarl.graph.litert_ops import QuantAveragePool2D, QuantMean, add_multipliers, mean_multiplier
from quarl.graph.policy import INPUT, Add, Concat, Flatten, MaxPool2D, Padding
from quarl.graph.quant_policy import (
    INT8_MAX,
    INT8_MIN,
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantTable,
    QuantTensor,
    TableFunction,
)
from quarl.graph.rescale import rescale_factor
from quarl.graph.shapes import window_count
from quarl.importers.draft import same_padding
from quarl.importers.tflite.file import Operator, Tensor
from quarl.importers.tflite.walk import NO_PADDING, Walk
from quarl.runtimes.host import LitertRuntime

MAX_PADDING = 1 << 12
# of an image: SAME padding makes windows larger than a small one, and a huge window costs memory
# for nothing
LARGEST_WINDOW = 2
VERSIONS = {"ELU": 1}  # the first version with int8; of the others it is 2
FUNCTIONS: dict[str, TableFunction] = {
    "TANH": "tanh",
    "LOGISTIC": "sigmoid",
    "RELU": "relu",
    "RELU6": "relu6",
    "ELU": "elu",
    "QUANTIZE": "identity",
}


def _fully_connected(walk: Walk, operator: Operator) -> None:
    name, source = walk.source(operator)
    weights, bias, scale = walk.parameters(operator, 2, 0)
    if operator.settings.is_packed or walk.shapes[name] != weights.shape[1:]:
        found = (
            "packed weights"
            if operator.settings.is_packed
            else f"{weights.shape[1]} weights per output"
        )
        raise walk.unsupported(
            operator,
            f"reads shape {walk.shapes[name]} with {found}, it must be a vector of as many numbers",
        )
    target = walk.target(operator, operator.settings.fused)
    op = QuantDense(weights, bias, rescale_factor(source.scale, scale, target.scale), scale)
    walk.add(operator, op, (name,), target, (len(bias),))


def _conv_2d(walk: Walk, operator: Operator) -> None:
    name, source = walk.source(operator, is_padded=True)
    weights, bias, scale = walk.parameters(operator, 4, 0)
    padding, shape = _window(
        walk, operator, walk.shapes[name], weights.shape[1:3], weights.shape[3]
    )
    target = walk.target(operator, operator.settings.fused)
    multiplier = rescale_factor(source.scale, scale, target.scale)
    op = QuantConv2D(weights, bias, multiplier, scale, operator.settings.stride, padding)
    walk.add(operator, op, (name,), target, (*shape, len(bias)))


def _depthwise_conv_2d(walk: Walk, operator: Operator) -> None:
    name, source = walk.source(operator, is_padded=True)
    weights, bias, scale = walk.parameters(operator, 4, 3)
    if operator.settings.depth_multiplier != 1 or weights.shape[0] != 1:
        raise walk.unsupported(
            operator,
            f"has the depth multiplier {operator.settings.depth_multiplier}, only 1 is "
            "carried over",
        )
    padding, shape = _window(
        walk, operator, walk.shapes[name], weights.shape[1:3], weights.shape[3]
    )
    target = walk.target(operator, operator.settings.fused)
    multiplier = rescale_factor(source.scale, scale, target.scale)
    kernels = np.ascontiguousarray(weights[0].transpose(2, 0, 1))
    op = QuantDepthwiseConv2D(kernels, bias, multiplier, scale, operator.settings.stride, padding)
    walk.add(operator, op, (name,), target, (*shape, len(bias)))


def _pool(walk: Walk, operator: Operator) -> None:
    name, source = walk.source(operator, is_padded=True)
    shape, settings = walk.shapes[name], operator.settings
    if len(shape) != 3 or any(
        window > LARGEST_WINDOW * size
        for window, size in zip(settings.kernel, shape[:2], strict=True)
    ):
        allowed = (
            f"carried over are windows of up to {LARGEST_WINDOW} times an image's height and width"
        )
        raise walk.unsupported(
            operator, f"pools windows of {settings.kernel} on shape {shape}, {allowed}"
        )
    padding, size = _window(walk, operator, shape, settings.kernel, shape[-1])
    target = walk.target(operator, settings.fused)
    if (source.scale, source.zero_point) != (target.scale, target.zero_point):
        raise walk.unsupported(operator, "changes the scale, which pooling does in no runtime")
    kind = MaxPool2D if operator.name == "MAX_POOL_2D" else QuantAveragePool2D
    walk.add(
        operator,
        kind(settings.kernel, settings.stride, padding),
        (name,),
        target,
        (*size, shape[2]),
    )


def _mean(walk: Walk, operator: Operator) -> None:
    name, source = walk.source(operator)
    shape, keeps_axes = walk.shapes[name], operator.settings.keeps_axes
    axes = walk.constant(operator, 1, "INT32", 1)
    if len(shape) != 3 or sorted(axis % 4 for axis in axes.tolist()) != [1, 2]:
        raise walk.unsupported(
            operator,
            f"averages shape {shape} over axes {axes.tolist()}, carried over are the rows and "
            "columns of images",
        )
    target = walk.target(operator)
    op = QuantMean(mean_multiplier(source, target, shape[0] * shape[1]), keeps_axes)
    walk.add(operator, op, (name,), target, (1, 1, shape[2]) if keeps_axes else (shape[2],))


def _window(
    walk: Walk, operator: Operator, shape: tuple[int, ...], kernel: tuple[int, ...], channels: int
) -> tuple[Padding, tuple[int, int]]:
    """Return the explicit padding and the rows and columns of a convolution's or pooling's result."""
    settings = operator.settings
    if len(shape) != 3 or shape[2] != channels:
        raise walk.unsupported(
            operator,
            f"reads shape {shape} with kernels of {channels} channels, groups are not carried over",
        )
    if (
        settings.dilation != (1, 1)
        or settings.padding not in ("SAME", "VALID")
        or min(*settings.stride, *kernel) < 1
    ):
        found = (
            f"dilation {settings.dilation}, stride {settings.stride}, padding "
            f"{settings.padding} and kernel {tuple(kernel)}"
        )
        raise walk.unsupported(
            operator, f"has {found}, carried over is dilation 1 with SAME or VALID"
        )
    before = walk.paddings.get(operator.inputs[0], NO_PADDING)
    wanted = (
        INT8_MIN
        if operator.name == "MAX_POOL_2D"
        else walk.tensors[walk.names[operator.inputs[0]]].zero_point
    )
    if walk.fills.get(operator.inputs[0], wanted) != wanted or (
        operator.name == "AVERAGE_POOL_2D" and before != NO_PADDING
    ):
        raise walk.unsupported(
            operator, "reads a tensor that is padded with another value than its own padding has"
        )
    padding = []
    for axis in (0, 1):
        own = (0, 0)
        if settings.padding == "SAME":
            own = same_padding(shape[axis] + sum(before[axis]), kernel[axis], settings.stride[axis])
        padding.append((before[axis][0] + own[0], before[axis][1] + own[1]))
    explicit = (padding[0], padding[1])
    rows, cols = (
        window_count(shape[axis], kernel[axis], settings.stride[axis], explicit, axis)
        for axis in (0, 1)
    )
    return explicit, (rows, cols)


def _pad(walk: Walk, operator: Operator) -> None:
    name, tensor = walk.source(operator, is_padded=True)
    amounts = walk.constant(operator, 1, "INT32", 2)
    if (
        amounts.shape != (4, 2)
        or amounts[[0, 3]].any()
        or amounts.min() < 0
        or amounts.max() > MAX_PADDING
    ):
        raise walk.unsupported(
            operator, f"pads by {amounts.tolist()}, carried over are rows and columns of images"
        )
    if walk.quantized(operator.outputs[0], "a padded tensor") != QuantTensor(
        tensor.scale, tensor.zero_point
    ):
        raise walk.refused(operator)
    (top, bottom), (left, right) = walk.paddings.get(operator.inputs[0], NO_PADDING)
    rows, cols = ((int(low), int(high)) for low, high in amounts[1:3])
    walk.names[operator.outputs[0]] = name
    fill = tensor.zero_point
    if operator.name == "PADV2":
        value = operator.inputs[2] if len(operator.inputs) > 2 else -1
        constant = None if value < 0 else walk.graph.tensors[value].values()
        if constant is None or constant.dtype != np.int8 or constant.size != 1:
            raise walk.refused(operator)
        fill = int(constant.reshape(()))
    if walk.fills.get(operator.inputs[0], fill) != fill:
        raise walk.refused(operator)
    walk.fills[operator.outputs[0]] = fill
    walk.paddings[operator.outputs[0]] = (
        (top + rows[0], bottom + rows[1]),
        (left + cols[0], right + cols[1]),
    )


def _reshape(walk: Walk, operator: Operator) -> None:
    name, tensor = walk.source(operator)
    shape, wanted = walk.shapes[name], walk.graph.tensors[operator.outputs[0]].shape
    given = (
        walk.graph.tensors[operator.inputs[1]].values()
        if len(operator.inputs) > 1 and operator.inputs[1] >= 0
        else None
    )
    agrees = given is None or (
        given.shape == (len(wanted),)
        and all(g in (-1, w) for g, w in zip(given.tolist(), wanted, strict=True))
    )
    flat = (math.prod(shape),)
    if not agrees or wanted not in ((1, *shape), (1, *flat)):
        raise walk.unsupported(
            operator, f"turns shape {shape} into {wanted[1:]}, only flattening is carried over"
        )
    if walk.quantized(operator.outputs[0], "a reshaped tensor") != QuantTensor(
        tensor.scale, tensor.zero_point
    ):
        raise walk.refused(operator)
    if wanted == (1, *shape):
        walk.same(operator)
    else:
        walk.add(operator, Flatten(), (name,), tensor, flat)


def _activation(walk: Walk, operator: Operator) -> None:
    name, source = walk.source(operator)
    target = walk.target(operator)
    table = _litert_table(walk, operator, QuantTensor(source.scale, source.zero_point), target)
    low, high = int(table.min()), int(table.max())
    if (source.scale, source.zero_point) == (target.scale, target.zero_point):
        is_clamp = np.array_equal(table, np.clip(np.arange(INT8_MIN, INT8_MAX + 1), low, high))
        if is_clamp and walk.clamp(operator, low, high):
            return
    reached = table[source.qmin - INT8_MIN : source.qmax - INT8_MIN + 1]
    walk.add(
        operator, QuantTable(FUNCTIONS[operator.name], reached), (name,), target, walk.shapes[name]
    )


def _litert_table(
    walk: Walk, operator: Operator, source: QuantTensor, target: QuantTensor
) -> NDArray[np.int16]:
    """Return what LiteRT's own operator gives for each of the 256 inputs."""
    file = TfliteFile()
    x, y = file.activation("x", (1,), np.int8, source), file.activation("y", (1,), np.int8, target)
    file.operator(getattr(OPS, operator.name), VERSIONS.get(operator.name, 2), [x], y)
    integers = np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.int8)
    try:
        return LitertRuntime(file.finish(x, y, {})).run(integers[:, None])[:, 0].astype(np.int16)
    except DeviceError as error:
        scales = (
            f"from scale {source.scale} to scale {target.scale}, zero point {target.zero_point}"
        )
        raise walk.unsupported(operator, f"is not computed {scales} by LiteRT itself") from error


def _bound(walk: Walk, operator: Operator) -> None:
    _, tensor = walk.source(operator)
    limit = operator.inputs[1] if len(operator.inputs) == 2 else -1
    values = walk.graph.tensors[limit].values() if limit >= 0 else None
    if (
        values is None
        or values.size != 1
        or walk.target(operator) != QuantTensor(tensor.scale, tensor.zero_point)
    ):
        raise walk.refused(operator)
    if walk.quantized(limit, "a bound") != QuantTensor(tensor.scale, tensor.zero_point):
        raise walk.refused(operator)
    bound = int(values.reshape(()))
    low, high = (bound, INT8_MAX) if operator.name == "MAXIMUM" else (INT8_MIN, bound)
    if not walk.clamp(operator, low, high):
        raise walk.refused(operator)


def _add(walk: Walk, operator: Operator) -> None:
    first, second = walk.source(operator, 0), walk.source(operator, 1)
    target = walk.target(operator, operator.settings.fused)
    shapes = [walk.shapes[name] for name, _ in (first, second)]
    if len(operator.inputs) != 2 or shapes[0] != shapes[1]:
        raise walk.unsupported(operator, f"adds shapes {shapes}, carried over are two equal ones")
    scales = [(t.scale, t.zero_point) for t in (first[1], second[1], target)]
    op = Add() if len(set(scales)) == 1 else add_multipliers(first[1], second[1], target)
    if op is None:
        found = ", ".join(str(scale) for scale, _ in scales)
        raise walk.unsupported(
            operator, f"adds tensors of scales {found}, which are too far apart for one arithmetic"
        )
    walk.add(operator, op, (first[0], second[0]), target, shapes[0])


def _concatenation(walk: Walk, operator: Operator) -> None:
    sources = [walk.source(operator, i) for i in range(len(operator.inputs))]
    target = walk.target(operator, operator.settings.fused)
    shapes = [walk.shapes[name] for name, _ in sources]
    if any((t.scale, t.zero_point) != (target.scale, target.zero_point) for _, t in sources):
        raise walk.unsupported(
            operator,
            "joins tensors of different scale or zero point, which is exact only where all "
            "are equal",
        )
    is_last = operator.settings.axis in (-1, len(shapes[0]))
    if (
        not is_last
        or operator.settings.fused != "NONE"
        or any(shape[:-1] != shapes[0][:-1] for shape in shapes)
    ):
        raise walk.unsupported(
            operator,
            f"joins shapes {shapes} along axis {operator.settings.axis}, only the last one is "
            "carried over",
        )
    joined = replace(
        target, qmin=min(t.qmin for _, t in sources), qmax=max(t.qmax for _, t in sources)
    )
    walk.add(
        operator,
        Concat(),
        tuple(name for name, _ in sources),
        joined,
        (*shapes[0][:-1], sum(shape[-1] for shape in shapes)),
    )


def _quantize(walk: Walk, operator: Operator) -> None:
    source, result = operator.inputs[0], operator.outputs[0]
    x, y = walk.graph.tensors[source], walk.graph.tensors[result]
    if source == walk.start and (x.dtype == "FLOAT32" or _is_shifted(x, y)):
        tensor = walk.quantized(result, "the quantised input")
        if walk.tensors.get(INPUT, tensor) != tensor or y.shape != x.shape:
            raise walk.unsupported(
                operator, "quantises the observation a second time in another way"
            )
        walk.begin(result, tensor)
    elif source in walk.names and (
        _is_equal(x, y) or (_is_shifted(y, x) and result == walk.output)
    ):
        walk.same(operator)
    elif source in walk.names and (x.dtype, y.dtype) == ("INT8", "INT8"):
        _activation(walk, operator)
    else:
        raise walk.refused(operator)


def _is_shifted(unsigned: Tensor, signed: Tensor) -> bool:
    """Whether one tensor is the other's numbers as uint8: the same bytes with the highest bit
    turned.
    """
    shifted = np.array_equal(unsigned.zero_point, signed.zero_point + 128)
    return (
        (unsigned.dtype, signed.dtype) == ("UINT8", "INT8")
        and shifted
        and np.array_equal(unsigned.scale, signed.scale)
    )


def _is_equal(a: Tensor, b: Tensor) -> bool:
    """Whether two int8 tensors mean the same by the same integers."""
    return (
        a.dtype == b.dtype == "INT8"
        and np.array_equal(a.scale, b.scale)
        and np.array_equal(a.zero_point, b.zero_point)
    )


def _dequantize(walk: Walk, operator: Operator) -> None:
    """At the end it only says what the integers mean; whatever else reads its floats is refused
    there.
    """
    if operator.inputs[0] not in walk.names:
        raise walk.unsupported(operator, "unpacks a constant for a layer that computes in floats")
    walk.same(operator)


def _softmax(walk: Walk, operator: Operator) -> None:
    if (
        operator.inputs[0] not in walk.names
        or not operator.settings.beta > 0
        or len(walk.graph.tensors[operator.inputs[0]].shape) != 2
    ):
        raise walk.refused(operator)
    walk.same(operator)
    walk.heads[operator.outputs[0]] = operator.name
    walk.softmax_beta = operator.settings.beta


def _arg_max(walk: Walk, operator: Operator) -> None:
    axis = (
        walk.graph.tensors[operator.inputs[1]].values()
        if len(operator.inputs) == 2 and operator.inputs[1] >= 0
        else None
    )
    is_last = axis is not None and axis.size == 1 and int(axis.reshape(())) in (-1, 1)
    if operator.inputs[0] not in walk.names or not is_last or operator.outputs[0] != walk.output:
        raise walk.refused(operator)
    walk.same(operator)
    walk.heads[operator.outputs[0]] = operator.name


def _shape(walk: Walk, operator: Operator) -> None:
    """Converters compute the batch of a RESHAPE; the result's shape is known without."""
    if walk.graph.tensors[operator.outputs[0]].dtype != "INT32":
        raise walk.refused(operator)


OPERATORS: dict[str, Callable[[Walk, Operator], None]] = {
    "ADD": _add,
    "ARG_MAX": _arg_max,
    "AVERAGE_POOL_2D": _pool,
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "DEQUANTIZE": _dequantize,
    "ELU": _activation,
    "FULLY_CONNECTED": _fully_connected,
    "LOGISTIC": _activation,
    "MAXIMUM": _bound,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "MINIMUM": _bound,
    "PACK": _shape,
    "PAD": _pad,
    "PADV2": _pad,
    "QUANTIZE": _quantize,
    "RELU": _activation,
    "RELU6": _activation,
    "RESHAPE": _reshape,
    "SHAPE": _shape,
    "SOFTMAX": _softmax,
    "STRIDED_SLICE": _shape,
    "TANH": _activation,
}
