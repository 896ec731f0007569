"""Layers of a `.tflite` graph with quarl's explicit padding, the same calls for integers and for
floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]

from quarl.emitters.tflite_file import TfliteFile
from quarl.errors import QuantizationError
from quarl.graph.policy import Padding
from quarl.graph.quant_policy import INT8_MIN, QuantTensor

ActivationName = str  # a member of schema.ActivationFunctionType
OPS = schema.BuiltinOperator


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the file: its index, shape without the batch, element type and, for integers,
    what they mean.
    """

    index: int
    shape: tuple[int, ...]
    dtype: type[np.generic]
    tensor: QuantTensor | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """How a kernel moves over an image: kernel and stride as [rows, columns], padding explicit."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding
    is_depthwise: bool


def dense(
    file: TfliteFile,
    x: Value,
    parameters: tuple[int, int],
    output: Value,
    fused: ActivationName = "NONE",
) -> Value:
    """Add a fully connected layer; integers take operator version 5, the first with one scale per
    channel.
    """
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = getattr(schema.ActivationFunctionType, fused)
    file.operator(
        OPS.FULLY_CONNECTED,
        1 if x.tensor is None else 5,
        [x.index, *parameters],
        output.index,
        options,
    )
    return output


def convolution(
    file: TfliteFile,
    x: Value,
    parameters: tuple[int, int],
    window: Window,
    output: Value,
    fused: ActivationName = "NONE",
) -> Value:
    """Add a convolution, with a PAD before it where TensorFlow's own two paddings differ from the
    explicit one.
    """
    scheme = padding_scheme(x.shape, window)
    if scheme is None:
        x = pad(file, x, window.padding)
    options = schema.DepthwiseConv2DOptionsT() if window.is_depthwise else schema.Conv2DOptionsT()
    options.padding = schema.Padding.SAME if scheme == "SAME" else schema.Padding.VALID
    options.strideH, options.strideW = window.stride
    options.fusedActivationFunction = getattr(schema.ActivationFunctionType, fused)
    if window.is_depthwise:
        options.depthMultiplier = 1
    code = OPS.DEPTHWISE_CONV_2D if window.is_depthwise else OPS.CONV_2D
    file.operator(code, 1 if x.tensor is None else 3, [x.index, *parameters], output.index, options)
    return output


def padding_scheme(shape: tuple[int, ...], window: Window) -> str | None:
    """Return "VALID" or "SAME" where TensorFlow's padding of that name is the explicit one, else
    None.
    """
    if window.padding == ((0, 0), (0, 0)):
        return "VALID"
    for axis in (0, 1):
        length, kernel, stride = shape[axis], window.kernel[axis], window.stride[axis]
        total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        if window.padding[axis] != (total // 2, total - total // 2):
            return None
    return "SAME"


def pad(file: TfliteFile, x: Value, padding: Padding, value: float | None = None) -> Value:
    """Add a PAD: it fills with the zero point of integers, with 0 of floats; with a value, a PADV2
    that fills with it.
    """
    (top, bottom), (left, right) = padding
    shape = (x.shape[0] + top + bottom, x.shape[1] + left + right, x.shape[2])
    amounts = file.constant("padding", np.array([(0, 0), *padding, (0, 0)], np.int32))
    padded = Value(file.activation("padded", shape, x.dtype, x.tensor), shape, x.dtype, x.tensor)
    version = 1 if x.tensor is None else 2
    if value is None:
        file.operator(OPS.PAD, version, [x.index, amounts], padded.index, schema.PadOptionsT())
        return padded
    scale, zero_point = (
        (None, 0)
        if x.tensor is None
        else (np.array([x.tensor.scale], np.float32), x.tensor.zero_point)
    )
    fill = file.constant("lowest", np.array([value], x.dtype), scale, zero_point)
    file.operator(
        OPS.PADV2, version, [x.index, amounts, fill], padded.index, schema.PadV2OptionsT()
    )
    return padded


def pool(file: TfliteFile, code: int, x: Value, window: Window, output: Value) -> Value:
    """Add a pooling; where a maximum's padding is not one of TensorFlow's own two, the lowest value
    is put around the image first.

    Raises:
        QuantizationError: an average with such padding, which no operator computes.
    """
    scheme = padding_scheme(x.shape, window)
    if scheme is None and code != OPS.MAX_POOL_2D:
        raise QuantizationError(
            f"an average pool has the padding {window.padding}, a .tflite knows SAME and VALID only"
        )
    if scheme is None:
        lowest = float(np.finfo(np.float32).min) if x.dtype == np.float32 else INT8_MIN
        x = pad(file, x, window.padding, lowest)
    options = schema.Pool2DOptionsT()
    options.padding = schema.Padding.SAME if scheme == "SAME" else schema.Padding.VALID
    options.strideH, options.strideW = window.stride
    options.filterHeight, options.filterWidth = window.kernel
    file.operator(code, 1 if x.tensor is None else 2, [x.index], output.index, options)
    return output


def mean(file: TfliteFile, x: Value, output: Value) -> Value:
    """Add a MEAN over height and width."""
    options = schema.ReducerOptionsT()
    options.keepDims = len(output.shape) == 3
    axes = file.constant("axes", np.array([1, 2], np.int32))
    file.operator(OPS.MEAN, 2, [x.index, axes], output.index, options)
    return output


def reshape(file: TfliteFile, x: Value, output: Value) -> Value:
    """Add a RESHAPE that leaves the batch open."""
    shape = [-1, *output.shape]
    options = schema.ReshapeOptionsT()
    options.newShape = shape
    file.operator(
        OPS.RESHAPE,
        1,
        [x.index, file.constant("shape", np.array(shape, np.int32))],
        output.index,
        options,
    )
    return output


def columns(file: TfliteFile, x: Value, first: int, output: Value) -> Value:
    """Add a SLICE of a vector, and a RESHAPE where it becomes a picture; both copy."""
    count = prod(output.shape)
    part = output
    if len(output.shape) > 1:
        index = file.activation("columns", (count,), x.dtype, x.tensor)
        part = Value(index, (count,), x.dtype, x.tensor)
    begin = file.constant("begin", np.array([0, first], np.int32))
    size = file.constant("size", np.array([-1, count], np.int32))
    version = 1 if x.tensor is None else 2
    file.operator(OPS.SLICE, version, [x.index, begin, size], part.index, schema.SliceOptionsT())
    return output if part is output else reshape(file, part, output)


def concat(file: TfliteFile, parts: list[Value], output: Value) -> Value:
    """Add a CONCATENATION along the last axis."""
    options = schema.ConcatenationOptionsT()
    options.axis = -1
    version = 1 if parts[0].tensor is None else 2
    file.operator(OPS.CONCATENATION, version, [part.index for part in parts], output.index, options)
    return output


def binary(
    file: TfliteFile,
    code: int,
    version: int,
    inputs: tuple[int, int],
    output: Value,
    options: Any,
) -> Value:
    """Add an operator of two inputs, one of which may be a constant."""
    file.operator(code, version, list(inputs), output.index, options)
    return output


def cast(file: TfliteFile, x: int, output: Value) -> Value:
    """Add a CAST; every number it is used for is an integer of the target type, so no rounding
    happens.
    """
    file.operator(OPS.CAST, 1, [x], output.index, schema.CastOptionsT())
    return output
