"""What the operators of a `.tflite` with weights or windows mean: dense layers, convolutions,
poolings and paddings."""

from __future__ import annotations

import numpy as np

from quarl.graph.litert_ops import QuantAveragePool2D, QuantMean, mean_multiplier
from quarl.graph.policy import MaxPool2D, Padding
from quarl.graph.quant_policy import (
    INT8_MIN,
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantTensor,
)
from quarl.graph.rescale import rescale_factor
from quarl.graph.shapes import window_count
from quarl.importers.draft import same_padding
from quarl.importers.tflite.file import Operator
from quarl.importers.tflite.walk import NO_PADDING, Meanings, Walk

MAX_PADDING = 1 << 12
# of an image: SAME padding makes windows larger than a small one, and a huge window costs memory
# for nothing
LARGEST_WINDOW = 2


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
    """Return the explicit padding and the rows and columns of a convolution's or pooling's
    result.
    """
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


LAYERS: Meanings = {
    "AVERAGE_POOL_2D": _pool,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "PAD": _pad,
    "PADV2": _pad,
}
