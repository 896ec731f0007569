"""What each operation computes, in float."""

from __future__ import annotations

import math
from typing import Any, assert_never

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from quarl.graph.functions import activate
from quarl.graph.ops import (
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
    Op,
    Padding,
)


def apply_op(op: Op, inputs: list[NDArray[Any]]) -> NDArray[Any]:
    """Return the operation's float result; the float type is that of the first input."""
    x = inputs[0]
    result: NDArray[Any]
    match op:
        case Dense():
            result = x @ op.weights.T.astype(x.dtype, copy=False) + op.bias.astype(
                x.dtype, copy=False
            )
        case Conv2D():
            columns, (rows, cols) = im2col(x, op.weights.shape[1:3], op.stride, op.padding)
            flat = columns @ op.weights.reshape(len(op.weights), -1).T.astype(
                x.dtype, copy=False
            ) + op.bias.astype(x.dtype, copy=False)
            result = flat.reshape(len(x), rows, cols, len(op.weights))
        case DepthwiseConv2D():
            windows = windows_of(x, op.weights.shape[1:3], op.stride, op.padding)
            result = np.einsum(
                "nrcdhw,dhw->nrcd", windows, op.weights.astype(x.dtype, copy=False), optimize=True
            ) + op.bias.astype(x.dtype, copy=False)
        case MaxPool2D():
            result = max_pool(op, x)
        case Activation():
            result = activate(op.function, x)
        case Flatten():
            result = x.reshape(len(x), math.prod(x.shape[1:]))
        case Columns(first=first, shape=shape):
            result = x[:, first : first + math.prod(shape)].reshape(len(x), *shape)
        case Concat():
            result = np.concatenate(inputs, axis=-1)
        case Add():
            result = inputs[0] + inputs[1]
        case Mul():
            result = inputs[0] * inputs[1]
        case other:
            assert_never(other)
    return result


def max_pool(op: MaxPool2D, x: NDArray[Any]) -> NDArray[Any]:
    """Return [n, rows, cols, channels]: the largest number of x [n, height, width, channels], of
    any type, under each window.
    """
    lowest = -np.inf if np.issubdtype(x.dtype, np.floating) else np.iinfo(x.dtype).min
    result: NDArray[Any] = windows_of(x, op.kernel, op.stride, op.padding, fill=lowest).max(
        axis=(-1, -2)
    )
    return result


def windows_of(
    x: NDArray[Any],
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: Padding,
    fill: float = 0,
) -> NDArray[Any]:
    """Return a view [n, rows, cols, channels, kernel_height, kernel_width] of x [n, height, width,
    channels], padded with `fill`.
    """
    if padding != ((0, 0), (0, 0)):
        x = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=fill)
    return sliding_window_view(x, kernel, axis=(1, 2))[:, :: stride[0], :: stride[1]]


def im2col(
    x: NDArray[Any],
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: Padding,
    fill: float = 0,
) -> tuple[NDArray[Any], tuple[int, int]]:
    """Return the patches [n * rows * cols, kernel_height * kernel_width * channels] in weight
    order, and (rows, cols).
    """
    windows = windows_of(x, kernel, stride, padding, fill)
    patches = windows.transpose(0, 1, 2, 4, 5, 3)
    return patches.reshape(math.prod(patches.shape[:3]), math.prod(patches.shape[3:])), (
        patches.shape[1],
        patches.shape[2],
    )
