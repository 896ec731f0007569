"""The shape each operation gives, and whether its inputs and numbers fit it."""

from __future__ import annotations

from math import prod
from typing import assert_never

import numpy as np

from quarl.errors import InputError, UnsupportedError
from quarl.graph.functions import parse
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
    Node,
    Padding,
    Weighted,
)

MOST_ELEMENTS = 1 << 24  # of one tensor: far more than any board holds, far less than memory


def is_name(value: object) -> bool:
    """Whether a layer may be called so: text, and no half of a character that no file can hold."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def output_shape(node: Node, inputs: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the node's output shape without the batch.

    Raises:
        InputError: the inputs do not fit the operation.
        UnsupportedError: the output has more than `MOST_ELEMENTS`, which a small file can ask for.
    """
    shape = _output_shape(node, inputs)
    if prod(shape) > MOST_ELEMENTS:
        raise UnsupportedError(
            f"{node.name}: gives {prod(shape):,} values (shape {shape}), at most "
            f"{MOST_ELEMENTS:,} are carried over: this is not a policy for a small board"
        )
    return shape


def _output_shape(node: Node, inputs: list[tuple[int, ...]]) -> tuple[int, ...]:
    _check_count(node, len(inputs))
    first = inputs[0]
    match node.op:
        case Dense(weights=weights):
            if first != (weights.shape[1],):
                raise InputError(
                    f"{node.name}: takes {weights.shape[1]} inputs, is given shape {first}"
                )
            return (weights.shape[0],)
        case Conv2D(weights=weights, stride=stride, padding=padding):
            if len(first) != 3 or first[2] != weights.shape[3]:
                raise InputError(
                    f"{node.name}: takes [height, width, {weights.shape[3]}], is given shape "
                    f"{first}"
                )
            return (
                *_window_counts(node.name, first, weights.shape[1:3], stride, padding),
                weights.shape[0],
            )
        case DepthwiseConv2D(weights=weights, stride=stride, padding=padding):
            if len(first) != 3 or first[2] != weights.shape[0]:
                raise InputError(
                    f"{node.name}: takes [height, width, {weights.shape[0]}], is given shape "
                    f"{first}"
                )
            return (
                *_window_counts(node.name, first, weights.shape[1:3], stride, padding),
                weights.shape[0],
            )
        case MaxPool2D(kernel=kernel, stride=stride, padding=padding):
            return pool_shape(node.name, first, kernel, stride, padding)
        case Flatten():
            return (prod(first),)
        case Columns(first=start, shape=shape):
            return _columns_shape(node.name, first, start, shape)
        case Concat():
            if any(shape[:-1] != first[:-1] for shape in inputs):
                raise InputError(
                    f"{node.name}: joins shapes {inputs}, which differ before the last axis"
                )
            return (*first[:-1], sum(shape[-1] for shape in inputs))
        case Add() | Mul():
            if inputs[0] != inputs[1]:
                verb = "adds" if isinstance(node.op, Add) else "multiplies"
                raise InputError(
                    f"{node.name}: {verb} shapes {inputs}, which must be two equal ones"
                )
            return first
        case Activation(function=function):
            try:
                parse(function)
            except UnsupportedError as error:
                raise UnsupportedError(f"{node.name}: {error}") from error
            return first
        case other:
            assert_never(other)


def _columns_shape(
    name: str, given: tuple[int, ...], first: int, shape: tuple[int, ...]
) -> tuple[int, ...]:
    is_whole = _are_whole((first,), 0) and _are_whole(shape, 1) and len(shape) in (1, 3)
    if len(given) != 1 or not is_whole or first + prod(shape) > given[0]:
        raise InputError(f"{name}: takes values from {first} on as {shape}, is given shape {given}")
    return shape


def _check_count(node: Node, count: int) -> None:
    needed = 2 if isinstance(node.op, Add | Mul) else 1
    if count < needed or (count > needed and not isinstance(node.op, Concat)):
        raise InputError(
            f"{node.name}: takes {needed} input{'s' if needed > 1 else ''}, is given {count}"
        )


def pool_shape(
    name: str,
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding,
) -> tuple[int, int, int]:
    """Return the shape a pooling makes.

    Raises:
        InputError: the window does not fit the image, or could lie in the padding alone.
    """
    if len(shape) != 3 or len(kernel) != 2 or not _are_whole(kernel, 1):
        raise InputError(
            f"{name}: pools windows {kernel} of [height, width, channels], is given shape {shape}"
        )
    counts = _window_counts(name, shape, kernel, stride, padding)
    if any(side >= kernel[axis] for axis in (0, 1) for side in padding[axis]):
        raise InputError(
            f"{name}: a {kernel[0]}x{kernel[1]} window fits into the padding {padding}, where "
            "there is nothing to pool"
        )
    return (*counts, shape[2])


def _window_counts(
    name: str,
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: Padding,
) -> tuple[int, int]:
    if not _are_whole(stride, 1) or len(stride) != 2:
        raise InputError(f"{name}: stride {stride} must be two whole numbers from 1")
    if len(padding) != 2 or any(len(axis) != 2 or not _are_whole(axis, 0) for axis in padding):
        raise InputError(
            f"{name}: padding {padding} must be ((top, bottom), (left, right)), whole numbers "
            "from 0"
        )
    rows, cols = ((shape[a] + sum(padding[a]) - kernel[a]) // stride[a] + 1 for a in (0, 1))
    if rows < 1 or cols < 1:
        raise InputError(
            f"{name}: a {kernel[0]}x{kernel[1]} window does not fit into {shape[0]}x{shape[1]}"
        )
    return rows, cols


def _are_whole(values: tuple[int, ...], low: int) -> bool:
    return all(type(value) is int and value >= low for value in values)


def check_parameters(name: str, op: Weighted) -> None:
    """Check the shapes and the numbers of a layer; names what is wrong."""
    rank = {Dense: 2, Conv2D: 4, DepthwiseConv2D: 3}[type(op)]
    if op.weights.ndim != rank or op.weights.size == 0 or op.bias.shape != (op.weights.shape[0],):
        raise InputError(
            f"{name}: weights {op.weights.shape} and bias {op.bias.shape} do not fit a "
            f"{type(op).__name__} layer"
        )
    if op.weights.dtype != np.float32 or op.bias.dtype != np.float32:
        raise UnsupportedError(
            f"{name}: parameters are {op.weights.dtype}, only float32 is carried over"
        )
    for what, values in (("weights", op.weights), ("bias", op.bias)):
        bad = values.size - int(np.isfinite(values).sum())
        if bad:
            raise InputError(
                f"{name}: {bad} of {values.size} {what} are NaN or infinite: the training "
                "diverged, use an earlier checkpoint"
            )
