"""ONNX operators with weights or windows: dense layers, convolutions, poolings, normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from quarl.errors import InputError
from quarl.graph.policy import Conv2D, Dense, DepthwiseConv2D, MaxPool2D, Padding
from quarl.importers.draft import DraftOp, Linear, average, same_padding
from quarl.importers.normalisation import Normalisation, normalised
from quarl.importers.onnx.values import (
    Known,
    Value,
    attribute_of,
    axes_of,
    is_given,
    name_of,
    vector,
)
from quarl.importers.onnx.walk import Operators, Walk
from quarl.importers.unrolled import convolution_matrix, mean_matrix


def _gemm(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x, weights = walk.tensor(node, inputs[0]), walk.weights(node, inputs[1], 2)
    if attribute_of(node, "transA", 0):
        raise walk.unsupported(node, "transposes its input")
    weights = weights if attribute_of(node, "transB", 0) else weights.T
    bias = np.zeros(len(weights))
    if len(inputs) > 2 and is_given(inputs[2]):
        offset = walk.weights(node, inputs[2])
        if offset.size not in (1, len(bias)) or offset.shape[-1:] not in ((), (1,), bias.shape):
            raise walk.unsupported(
                node,
                f"adds a matrix of shape {offset.shape}, one number per output ({len(bias)}) "
                "is carried over",
            )
        bias += float(attribute_of(node, "beta", 1.0)) * offset.ravel()
    return _dense(walk, node, x, float(attribute_of(node, "alpha", 1.0)) * weights, bias)


def _matmul(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    if all(isinstance(value, Value) for value in inputs):
        raise walk.unsupported(
            node,
            "multiplies two layers' outputs as matrices, as attention does: int8 has no exact "
            "counterpart",
        )
    weights = walk.weights(node, inputs[1])
    if weights.ndim not in (1, 2):
        raise walk.unsupported(node, f"has weights of shape {weights.shape}")
    columns = weights if weights.ndim == 2 else weights[:, None]
    result = _dense(walk, node, walk.tensor(node, inputs[0]), columns.T, np.zeros(columns.shape[1]))
    if weights.ndim == 2:
        return result
    return Value(result.node, "flat", (), result.order[..., 0], result.batch)


def _dense(
    walk: Walk, node: NodeProto, x: Value, weights: NDArray[np.float64], bias: NDArray[np.float64]
) -> Value:
    """Append a dense layer along the last axis; where a window has several rows, each of them goes
    through it.
    """
    x = walk.flat(node, x)
    *rows, length = x.order.shape
    if weights.shape[1] != length:
        raise InputError(
            f"{walk.path.name}: {node.op_type} (node {name_of(node)!r}) takes "
            f"{weights.shape[1]} values, is given {length}"
        )
    count, outputs = math.prod(rows), len(weights)
    walk.check_size(node, count * outputs, walk.builder.shapes[x.node][0])
    whole = np.zeros((count, outputs, walk.builder.shapes[x.node][0]))
    places = x.order.reshape(count, length)
    for row in range(count):
        np.add.at(whole[row].T, places[row], weights.T)
    dense = Dense(
        whole.reshape(count * outputs, -1).astype(np.float32),
        np.tile(bias, count).astype(np.float32),
    )
    result = walk.add(node, dense, [x])
    return vector(result.node, (*rows, outputs), x.batch)


def _conv(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    weights = walk.weights(node, inputs[1])
    bias = (
        walk.weights(node, inputs[2], 1)
        if len(inputs) > 2 and is_given(inputs[2])
        else np.zeros(len(weights))
    )
    found = walk.tensor(node, inputs[0])
    if found.layout == "flat":
        return _unrolled(walk, node, found, weights, bias)
    x, (height, width, channels) = walk.image(node, found)
    if weights.ndim != 4:
        raise walk.unsupported(node, f"has weights of shape {weights.shape} for an image")
    _, stride, padding = _window(walk, node, (height, width), weights.shape[2:])
    group = int(attribute_of(node, "group", 1))
    op: DraftOp
    if group == 1:
        op = Conv2D(
            np.ascontiguousarray(weights.transpose(0, 2, 3, 1), np.float32),
            bias.astype(np.float32),
            stride,
            padding,
        )
    elif group == channels == len(weights) and weights.shape[1] == 1:
        op = DepthwiseConv2D(
            np.ascontiguousarray(weights[:, 0], np.float32),
            bias.astype(np.float32),
            stride,
            padding,
        )
    else:
        raise walk.unsupported(
            node,
            f"has {group} groups for {channels} channels, carried over are one group and one "
            "per channel",
        )
    return walk.add(node, op, [x])


def _unrolled(
    walk: Walk, node: NodeProto, x: Value, weights: NDArray[np.float64], bias: NDArray[np.float64]
) -> Value:
    """Append a convolution over a window of a vector observation as the dense layer it is."""
    axes = weights.ndim - 2
    if x.order.ndim != weights.ndim or x.batch != 0 or axes < 1:
        raise walk.unsupported(
            node, f"convolves shape {list(x.order.shape)} with weights of {weights.shape}"
        )
    strides, dilations = (
        [int(n) for n in attribute_of(node, name, [1] * axes)] for name in ("strides", "dilations")
    )
    pads = [int(n) for n in attribute_of(node, "pads", [0] * 2 * axes)]
    padding = list(zip(pads[:axes], pads[axes:], strict=True))
    mode = attribute_of(node, "auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        spans = [
            dilation * (size - 1) + 1
            for size, dilation in zip(weights.shape[2:], dilations, strict=True)
        ]
        sides = zip(x.order.shape[2:], spans, strides, strict=True)
        even = [same_padding(*side) for side in sides]
        padding = even if mode == "SAME_UPPER" else [(after, before) for before, after in even]
    group = int(attribute_of(node, "group", 1))
    count = walk.builder.shapes[x.node][0]
    lengths = [
        (length + sum(pad) - dilation * (size - 1) - 1) // stride + 1
        for length, pad, size, stride, dilation in zip(
            x.order.shape[2:], padding, weights.shape[2:], strides, dilations, strict=True
        )
    ]
    if min(lengths) < 1 or x.order.shape[1] != weights.shape[1] * group:
        raise walk.unsupported(node, f"does not fit the shape {list(x.order.shape)}")
    walk.check_size(node, len(weights) * math.prod(lengths), count)
    matrix = convolution_matrix(x.order[0], weights, (strides, dilations, padding), group, count)
    dense = Dense(matrix.astype(np.float32), np.repeat(bias, math.prod(lengths)).astype(np.float32))
    result = walk.add(node, dense, [x])
    return vector(result.node, (1, len(weights), *lengths))


def _window(
    walk: Walk, node: NodeProto, lengths: tuple[int, int], kernel_shape: Sequence[int]
) -> tuple[tuple[int, int], tuple[int, int], Padding]:
    """Return kernel size, stride and explicit padding of a convolution or a pooling."""
    kernel = tuple(int(length) for length in attribute_of(node, "kernel_shape", kernel_shape))
    strides = tuple(int(length) for length in attribute_of(node, "strides", (1, 1)))
    dilations = tuple(attribute_of(node, "dilations", (1, 1)))
    if (
        len(kernel) != 2
        or len(strides) != 2
        or min(*kernel, *strides) < 1
        or dilations != (1, 1)
        or kernel != tuple(kernel_shape)
    ):
        raise walk.unsupported(
            node,
            f"has kernel {kernel}, strides {strides}, dilations {dilations}: carried over are "
            "two axes, no dilation",
        )
    size, stride = (kernel[0], kernel[1]), (strides[0], strides[1])
    mode = attribute_of(node, "auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = tuple(int(count) for count in attribute_of(node, "pads", (0, 0, 0, 0)))
        if len(pads) != 4 or min(pads) < 0:
            raise walk.unsupported(node, f"has pads {pads}, four counts >= 0 are carried over")
        return size, stride, ((pads[0], pads[2]), (pads[1], pads[3]))
    if mode == "VALID":
        return size, stride, ((0, 0), (0, 0))
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise walk.unsupported(node, f"has auto_pad {mode!r}")
    rows, cols = (same_padding(lengths[axis], size[axis], stride[axis]) for axis in (0, 1))
    return (
        (size, stride, (rows, cols))
        if mode == "SAME_UPPER"
        else (size, stride, (rows[::-1], cols[::-1]))
    )


def _average_pool(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x, (height, width, channels) = walk.image(node, inputs[0])
    size, stride, padding = _window(
        walk, node, (height, width), attribute_of(node, "kernel_shape", ())
    )
    if attribute_of(node, "ceil_mode", 0) or (
        padding != ((0, 0), (0, 0)) and not attribute_of(node, "count_include_pad", 0)
    ):
        raise walk.unsupported(
            node, "counts fewer values at the border than inside, which no convolution does"
        )
    return walk.add(node, average(*size, channels, stride, padding), [x])


def _max_pool(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x, (height, width, _) = walk.image(node, inputs[0])
    size, stride, padding = _window(
        walk, node, (height, width), attribute_of(node, "kernel_shape", ())
    )
    if (
        attribute_of(node, "ceil_mode", 0)
        or attribute_of(node, "storage_order", 0)
        or len(node.output) > 1
    ):
        raise walk.unsupported(
            node,
            "has ceil_mode, storage_order or a second output: only the plain maximum is "
            "carried over",
        )
    return walk.add(node, MaxPool2D(size, stride, padding), [x])


def _pad(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    """Append zeros around an image, which the convolution after it takes, or around a vector."""
    x = walk.tensor(node, inputs[0])
    given = inputs[1] if len(inputs) > 1 else np.asarray(attribute_of(node, "pads", []))
    pads = [int(n) for n in walk.weights(node, given).ravel()]
    fill = walk.weights(node, inputs[2]) if len(inputs) > 2 and is_given(inputs[2]) else 0
    rank = x.order.ndim if x.layout == "flat" else len(x.dims) + 1
    if attribute_of(node, "mode", "constant") != "constant" or np.any(fill) or min(pads) < 0:
        raise walk.unsupported(node, "fills with other values than 0")
    if len(inputs) > 3 and is_given(inputs[3]):
        axes = [int(axis) % rank for axis in walk.weights(node, inputs[3]).ravel()]
        chosen = dict(
            zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True)
        )
        pads = [chosen.get(axis, (0, 0))[side] for side in (0, 1) for axis in range(rank)]
    pairs = list(zip(pads[:rank], pads[rank:], strict=True))
    if x.layout == "flat":
        return _padded_vector(walk, node, x, pairs)
    rows, cols, channels = pairs[1:] if x.layout == "nhwc" else (pairs[2], pairs[3], pairs[1])
    if any(pairs[0]) or any(channels):
        raise walk.unsupported(node, "pads the batch or the channels of an image")
    count = walk.builder.shapes[x.node][-1]
    result = walk.add(node, average(1, 1, count, (1, 1), (rows, cols)), [x])
    height, width = walk.builder.shapes[result.node][:2]
    dims = (count, height, width) if x.layout == "nchw" else (height, width, count)
    return Value(result.node, x.layout, dims, x.order)


def _padded_vector(
    walk: Walk, node: NodeProto, x: Value, pairs: Sequence[tuple[int, int]]
) -> Value:
    count = walk.builder.shapes[x.node][0]
    places = np.pad(x.order, pairs, constant_values=-1)
    if x.batch >= 0 and any(pairs[x.batch]):
        raise walk.unsupported(node, "pads the batch")
    walk.check_size(node, places.size, count)
    weights = np.zeros((places.size, count))
    shown = np.flatnonzero(places.ravel() >= 0)
    weights[shown, places.ravel()[shown]] = 1
    result = walk.add(node, Linear(weights, np.zeros(places.size)), [x])
    return vector(result.node, places.shape, x.batch)


def _global_average_pool(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    if x.layout == "flat":
        return _mean(walk, node, x, list(range(2, x.order.ndim)), keeps=True)
    _, (height, width, channels) = walk.image(node, x)
    return walk.add(node, average(height, width, channels, (1, 1)), [x])


def _reduce_mean(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    rank = x.order.ndim if x.layout == "flat" else len(x.dims) + 1
    axes = axes_of(node, inputs, rank)
    keeps = bool(attribute_of(node, "keepdims", 1))
    if axes is None or (x.layout == "flat" and x.batch in axes):
        raise walk.unsupported(node, f"averages over axes {axes}, the batch among them")
    if x.layout == "flat" or axes != ([2, 3] if x.layout == "nchw" else [1, 2]):
        return _mean(walk, node, walk.flat(node, x), axes, keeps=keeps)
    if node.op_type == "ReduceSum":
        raise walk.unsupported(node, "adds up pixels, ReduceMean is carried over")
    height, width, channels = walk.builder.shapes[x.node]
    pooled = walk.add(node, average(height, width, channels, (1, 1)), [x])
    if keeps:
        return pooled
    flat = walk.flat(node, pooled)
    return Value(flat.node, "flat", (), flat.order.reshape(1, channels))


def _mean(walk: Walk, node: NodeProto, x: Value, axes: Sequence[int], *, keeps: bool) -> Value:
    """Append the mean, or the sum, of a vector's places along some axes."""
    count = walk.builder.shapes[x.node][0]
    lengths = [1 if axis in axes else length for axis, length in enumerate(x.order.shape)]
    walk.check_size(node, math.prod(lengths), count)
    matrix = mean_matrix(x.order, axes, count)
    if node.op_type == "ReduceSum":
        matrix = matrix * (x.order.size / math.prod(lengths))
    result = walk.add(node, Linear(matrix, np.zeros(len(matrix))), [x])
    order = np.arange(len(matrix)).reshape(lengths)
    batch = x.batch
    if not keeps:
        order = order.squeeze(tuple(axes))
        batch -= sum(axis < x.batch for axis in axes)
    return Value(result.node, "flat", (), order, batch)


def _batch_normalization(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    if attribute_of(node, "training_mode", 0) or len(node.output) > 1:
        raise walk.unsupported(
            node, "is in training mode, export the model in evaluation mode (model.eval())"
        )
    gamma, beta, mean, var = (walk.weights(node, value, 1) for value in inputs[1:5])
    x = walk.tensor(node, inputs[0])
    if x.layout != "flat":
        x, _ = walk.image(node, x)
    scale = gamma / np.sqrt(var + float(attribute_of(node, "epsilon", 1e-5)))
    rank = x.order.ndim if x.layout == "flat" else len(x.dims) + 1
    shape = (-1, *(1,) * (rank - 2))
    return walk.scaled(node, x, scale.reshape(shape), (beta - mean * scale).reshape(shape))


def _layer_normalization(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    axis = int(attribute_of(node, "axis", -1))
    rank = x.order.ndim if x.layout == "flat" else len(x.dims) + 1
    if x.layout != "flat" or axis not in (-1, rank - 1) or x.order.size != x.order.shape[-1]:
        raise walk.unsupported(
            node, f"works along axis {axis} of {list(x.shape[1:])}, one vector is carried over"
        )
    x = walk.settled(node, x, node.input[0], ".vector")
    count = x.order.size
    gain, offset = (
        np.broadcast_to(walk.weights(node, inputs[place]).ravel(), count)
        if len(inputs) > place and is_given(inputs[place])
        else np.full(count, default)
        for place, default in ((1, 1.0), (2, 0.0))
    )
    is_centred = node.op_type == "LayerNormalization"
    epsilon = float(attribute_of(node, "epsilon", 1e-5))

    def append(op: DraftOp, names: Sequence[str], suffix: str) -> str:
        source = "" if suffix and suffix != ".offset" else node.output[0]
        return walk.builder.add(name_of(node) + suffix, op, names, source)

    how = Normalisation(gain, offset, epsilon, is_centred)
    return vector(normalised(append, x.node, how), x.order.shape, x.batch)


LAYERS: Operators = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Conv": _conv,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "LayerNormalization": _layer_normalization,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "RMSNormalization": _layer_normalization,
    "ReduceMean": _reduce_mean,
    "ReduceSum": _reduce_mean,
}
