"""`.tflite` files that compute in floats, or in integers of another kind, become a `Policy`.

In: a float32 or float16 model, one with int8 weights alone (dynamic range), or one with 16-bit
activations. Out: the float network: weights are what their integers mean, the rounding of
activations is dropped. The graph is written as ONNX and read by that walk.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError
from quarl.graph.policy import Policy
from quarl.importers.draft import Draft, same_padding
from quarl.importers.fold import finish
from quarl.importers.onnx import draft_of
from quarl.importers.onnx.file import OnnxFile
from quarl.importers.onnx.made import MadeGraph
from quarl.importers.options import ImportOptions
from quarl.importers.tflite.file import Operator, Tensor, TfliteGraph
from quarl.runtimes.host import WEIGHTED_OPERATORS

FLOATS = ("FLOAT32", "INT16")  # activations that stand for floats
ACTIVATIONS: Mapping[str, tuple[str, tuple[float, float]]] = {
    "RELU": ("Relu", (0, math.inf)),
    "RELU6": ("Clip", (0, 6)),
    "RELU_N1_TO_1": ("Clip", (-1, 1)),
    "TANH": ("Tanh", (-math.inf, math.inf)),
}
PLAIN: Mapping[str, str] = {
    "ABS": "Abs",
    "COS": "Cos",
    "DEQUANTIZE": "Identity",
    "ELU": "Elu",
    "EXP": "Exp",
    "HARD_SWISH": "HardSwish",
    "LOG": "Log",
    "LOGISTIC": "Sigmoid",
    "NEG": "Neg",
    "QUANTIZE": "Identity",
    "RELU": "Relu",
    "SIN": "Sin",
    "SQRT": "Sqrt",
    "TANH": "Tanh",
}
BINARY: Mapping[str, str] = {
    "ADD": "Add",
    "DIV": "Div",
    "MAXIMUM": "Max",
    "MINIMUM": "Min",
    "MUL": "Mul",
    "POW": "Pow",
    "SQUARED_DIFFERENCE": "Sub",
    "SUB": "Sub",
}


def computes_in_floats(graph: TfliteGraph) -> bool:
    """Whether the first layer with weights reads floats, or 16-bit integers that stand for them."""
    for operator in graph.operators:
        if operator.name in WEIGHTED_OPERATORS and operator.inputs and operator.inputs[0] >= 0:
            return graph.tensors[operator.inputs[0]].dtype in FLOATS
    return False


def read_floats(path: Path, graph: TfliteGraph, options: ImportOptions) -> Policy:
    """Return the float policy; errors as `read_tflite`."""
    return finish(path, float_draft(path, graph, options), options)


def float_draft(path: Path, graph: TfliteGraph, options: ImportOptions) -> Draft:
    """Return the network as the file tells it."""
    return draft_of(float_file(path, graph), options)


def float_file(path: Path, graph: TfliteGraph) -> OnnxFile:
    """Return the graph as ONNX; the result of tensor 7 is called `t7`."""
    made = _Walk(path, graph).graph()
    framework = "tflite" if (kind := rounds(graph)) is None else f"tflite ({kind})"
    return made.file(path, hashlib.sha256(graph.content), framework)


def rounds(graph: TfliteGraph) -> str | None:
    """Return what the file's own runtime rounds: "dynamic" for weights, "wide" for activations too,
    None for nothing.
    """
    for operator in graph.operators:
        if operator.name in WEIGHTED_OPERATORS and min(operator.inputs[:2], default=-1) >= 0:
            x, weights = (graph.tensors[i].dtype for i in operator.inputs[:2])
            if x == "INT16":
                return "wide"
            if weights == "INT8":
                return "dynamic"
    return None


class _Walk:
    """Writes each operator as ONNX; images stay [batch, height, width, channels]."""

    def __init__(self, path: Path, graph: TfliteGraph) -> None:
        self.path, self.source, self.made = path, graph, MadeGraph()
        self.names: dict[int, str] = {}
        self.unpacked: dict[int, NDArray[Any]] = {}  # constants that an operator unpacks
        self.operators = _needed(graph)

    def graph(self) -> MadeGraph:
        """Return the whole graph."""
        for place, index in enumerate(self.source.inputs):
            tensor = self.source.tensors[index]
            name = self.names[index] = tensor.name or f"input_{place}"
            self.made.input(name, [None, *tensor.shape[1:]])
        for operator in self.operators:
            try:
                self._step(operator)
            except (LookupError, ValueError) as error:
                what = f"operator {operator.index} ({operator.name}) has other inputs or outputs"
                raise InputError(
                    f"{self.path.name}: {what} than it takes ({error}): convert the model again"
                ) from error
        for name, index in zip(self.source.output_names, self.source.outputs, strict=True):
            name = name if name not in self.names.values() else f"{name}:output"
            self.made.node("Identity", [self.name(index)], name)
            self.made.output(name)
        return self.made

    def name(self, index: int) -> str:
        """Return the name of a tensor, which becomes a constant where it is one."""
        if index not in self.names:
            self.names[index] = self.made.constant(self.values(index))
        return self.names[index]

    def values(self, index: int) -> NDArray[Any]:
        """Return a constant's numbers, whatever integers they are kept as."""
        if index in self.unpacked:
            return self.unpacked[index]
        tensor = self.source.tensors[index]
        values = tensor.values()
        if values is None:
            kind = "no constant" if tensor.data is None else f"a constant of type {tensor.dtype}"
            raise UnsupportedError(
                f"{self.path.name}: {tensor.name or f'tensor {index}'} is {kind}, numbers are "
                "needed: give quarl the model this file was converted from"
            )
        return _meant(tensor, values)

    def result(self, operator: Operator, kind: str, inputs: list[str], **attributes: Any) -> None:
        """Write an operator and the activation that is fused into it."""
        index = operator.outputs[0]
        fused = operator.settings.fused
        name = f"t{index}"
        self.names[index] = name
        if fused == "NONE":
            self.made.node(kind, inputs, name, **attributes)
            return
        if fused not in ACTIVATIONS:
            raise self.refused(operator, f"has the fused activation {fused}")
        middle = self.made.node(kind, inputs, f"{name}.linear", **attributes)
        function, (low, high) = ACTIVATIONS[fused]
        bounds = [self.made.constant(np.float32(b)) for b in (low, high)]
        self.made.node(function, [middle, *(bounds if function == "Clip" else [])], name)

    def refused(self, operator: Operator, reason: str) -> UnsupportedError:
        """Return the error that names the operator and the reason."""
        return UnsupportedError(
            f"{self.path.name}: operator {operator.index} ({operator.name}) {reason}, which is not "
            "carried over: give quarl the model this file was converted from"
        )

    def _step(self, operator: Operator) -> None:
        index = operator.outputs[0] if len(operator.outputs) == 1 else -1
        if (
            operator.name == "DEQUANTIZE"
            and self.source.tensors[operator.inputs[0]].data is not None
        ):
            self.unpacked[index] = self.values(operator.inputs[0])
        elif operator.name in PLAIN:
            self.result(operator, PLAIN[operator.name], [self.name(operator.inputs[0])])
        elif operator.name in BINARY:
            self._binary(operator)
        elif operator.name in OPERATORS:
            OPERATORS[operator.name](self, operator)
        else:
            raise self.refused(operator, "is not among the operators of policies")

    def _binary(self, operator: Operator) -> None:
        left, right = (self.name(index) for index in operator.inputs)
        if operator.name == "SQUARED_DIFFERENCE":
            difference = self.made.node("Sub", [left, right], f"t{operator.outputs[0]}.difference")
            self.result(operator, "Mul", [difference, difference])
        else:
            self.result(operator, BINARY[operator.name], [left, right])


def _meant(tensor: Tensor, values: NDArray[Any]) -> NDArray[Any]:
    """Return the floats that a constant's integers mean; plain numbers as they are."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if not len(tensor.scale):
        return values.astype(np.int64)
    shape = [1] * values.ndim
    if len(tensor.scale) > 1:
        shape[tensor.axis] = len(tensor.scale)
    scale, zero = tensor.scale.astype(np.float64), tensor.zero_point
    real = (values.astype(np.float64) - zero.reshape(shape)) * scale.reshape(shape)
    return real.astype(np.float32)


def _needed(graph: TfliteGraph) -> tuple[Operator, ...]:
    needed, found = set(graph.outputs), []
    for operator in reversed(graph.operators):
        if needed.intersection(operator.outputs):
            needed.update(operator.inputs)
            found.append(operator)
    return tuple(reversed(found))


def _fully_connected(walk: _Walk, operator: Operator) -> None:
    weights = walk.made.constant(walk.values(operator.inputs[1]).T)
    x = walk.name(operator.inputs[0])
    if len(operator.inputs) < 3 or operator.inputs[2] < 0:
        walk.result(operator, "MatMul", [x, weights])
        return
    product = walk.made.node("MatMul", [x, weights], f"t{operator.outputs[0]}.product")
    bias = walk.made.constant(walk.values(operator.inputs[2]))
    walk.result(operator, "Add", [product, bias])


def _convolution(walk: _Walk, operator: Operator) -> None:
    settings = operator.settings
    kernels = walk.values(operator.inputs[1])
    is_depthwise = operator.name == "DEPTHWISE_CONV_2D"
    channels = walk.source.tensors[operator.inputs[0]].shape[-1]
    group = channels if is_depthwise else channels // kernels.shape[3]
    order = (3, 0, 1, 2) if is_depthwise else (0, 3, 1, 2)
    weights = walk.made.constant(kernels.transpose(order))
    bias = (
        [walk.made.constant(walk.values(operator.inputs[2]))]
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0
        else []
    )
    pads = _pads(walk, operator, kernels.shape[1:3])
    _in_nchw(
        walk,
        operator,
        "Conv",
        [weights, *bias],
        group=group,
        strides=list(settings.stride),
        dilations=list(settings.dilation),
        pads=pads,
    )


def _pool(walk: _Walk, operator: Operator) -> None:
    settings = operator.settings
    kind = "MaxPool" if operator.name == "MAX_POOL_2D" else "AveragePool"
    pads = _pads(walk, operator, settings.kernel)
    _in_nchw(
        walk,
        operator,
        kind,
        [],
        kernel_shape=list(settings.kernel),
        strides=list(settings.stride),
        pads=pads,
    )


def _in_nchw(
    walk: _Walk, operator: Operator, kind: str, constants: list[str], **attributes: Any
) -> None:
    name = f"t{operator.outputs[0]}"
    image = walk.name(operator.inputs[0])
    first = walk.made.node("Transpose", [image], f"{name}.nchw", perm=[0, 3, 1, 2])
    walk.made.node(kind, [first, *constants], f"{name}.made", **attributes)
    walk.result(operator, "Transpose", [f"{name}.made"], perm=[0, 2, 3, 1])


def _pads(walk: _Walk, operator: Operator, kernel: tuple[int, ...]) -> list[int]:
    settings = operator.settings
    if settings.padding == "VALID":
        return [0, 0, 0, 0]
    lengths = walk.source.tensors[operator.inputs[0]].shape[1:3]
    pairs = [
        same_padding(length, (size - 1) * dilation + 1, stride)
        for length, size, stride, dilation in zip(
            lengths, kernel, settings.stride, settings.dilation, strict=True
        )
    ]
    return [pair[side] for side in (0, 1) for pair in pairs]


def _reshape(walk: _Walk, operator: Operator) -> None:
    shape = walk.source.tensors[operator.outputs[0]].shape
    target = walk.made.numbers(-1, *shape[1:])
    walk.result(operator, "Reshape", [walk.name(operator.inputs[0]), target])


def _concatenation(walk: _Walk, operator: Operator) -> None:
    parts = [walk.name(index) for index in operator.inputs]
    walk.result(operator, "Concat", parts, axis=operator.settings.axis)


def _mean(walk: _Walk, operator: Operator) -> None:
    axes = walk.made.numbers(*walk.values(operator.inputs[1]).ravel().tolist())
    kind = "ReduceMean" if operator.name == "MEAN" else "ReduceSum"
    walk.result(
        operator,
        kind,
        [walk.name(operator.inputs[0]), axes],
        keepdims=int(operator.settings.keeps_axes),
    )


def _pad(walk: _Walk, operator: Operator) -> None:
    amounts = walk.values(operator.inputs[1]).astype(int)
    pads = walk.made.numbers(*amounts[:, 0].tolist(), *amounts[:, 1].tolist())
    walk.result(operator, "Pad", [walk.name(operator.inputs[0]), pads])


def _head(walk: _Walk, operator: Operator) -> None:
    kinds = {"SOFTMAX": "Softmax", "LOG_SOFTMAX": "LogSoftmax"}
    walk.result(operator, kinds[operator.name], [walk.name(operator.inputs[0])], axis=-1)


def _arg_max(walk: _Walk, operator: Operator) -> None:
    walk.result(operator, "ArgMax", [walk.name(operator.inputs[0])], axis=-1, keepdims=0)


def _power(walk: _Walk, operator: Operator) -> None:
    x = walk.name(operator.inputs[0])
    if operator.name == "SQUARE":
        walk.result(operator, "Mul", [x, x])
        return
    root = walk.made.node("Sqrt", [x], f"t{operator.outputs[0]}.root")
    walk.result(operator, "Reciprocal", [root])


def _clip(walk: _Walk, operator: Operator) -> None:
    bounds = (0.0, 6.0) if operator.name == "RELU6" else (-1.0, 1.0)
    names = [walk.made.constant(np.float32(bound)) for bound in bounds]
    walk.result(operator, "Clip", [walk.name(operator.inputs[0]), *names])


def _leaky_relu(walk: _Walk, operator: Operator) -> None:
    walk.result(
        operator, "LeakyRelu", [walk.name(operator.inputs[0])], alpha=operator.settings.beta
    )


def _gelu(walk: _Walk, operator: Operator) -> None:
    kind = "tanh" if operator.settings.is_approximate else "none"
    walk.result(operator, "Gelu", [walk.name(operator.inputs[0])], approximate=kind)


def _prelu(walk: _Walk, operator: Operator) -> None:
    walk.result(operator, "PRelu", [walk.name(index) for index in operator.inputs])


def _without_lengths(walk: _Walk, operator: Operator) -> None:
    """Converters compute the batch of a RESHAPE; the result's shape is known without."""
    tensor = walk.source.tensors[operator.outputs[0]]
    if tensor.dtype not in ("INT32", "INT64"):
        raise walk.refused(operator, f"makes {tensor.dtype}")
    walk.names[operator.outputs[0]] = walk.made.constant(np.zeros(tensor.shape, np.int64))


def _strided_slice(walk: _Walk, operator: Operator) -> None:
    tensor = walk.source.tensors[operator.outputs[0]]
    if tensor.dtype in ("INT32", "INT64"):
        _without_lengths(walk, operator)
        return
    begin, end, strides = (walk.values(index).ravel().tolist() for index in operator.inputs[1:4])
    shape = walk.source.tensors[operator.inputs[0]].shape
    if len(tensor.shape) != len(shape) or operator.settings.mask[2:] != (0, 0, 0):
        raise walk.refused(operator, "drops or adds axes")
    first, last = operator.settings.mask[:2]
    starts = [0 if first >> i & 1 else b for i, b in enumerate(begin)]
    ends = [1 << 30 if last >> i & 1 else e for i, e in enumerate(end)]
    starts[0], ends[0] = 0, 1 << 30  # the batch
    words = (starts, ends, list(range(len(shape))), strides)
    names = [walk.made.numbers(*numbers) for numbers in words]
    walk.result(operator, "Slice", [walk.name(operator.inputs[0]), *names])


def _transpose(walk: _Walk, operator: Operator) -> None:
    perm = walk.values(operator.inputs[1]).astype(int).ravel().tolist()
    walk.result(operator, "Transpose", [walk.name(operator.inputs[0])], perm=perm)


def _slice(walk: _Walk, operator: Operator) -> None:
    x, begin, size = operator.inputs
    starts, counts = (walk.values(index).astype(int).ravel().tolist() for index in (begin, size))
    ends = [
        1 << 30 if count < 0 else start + count for start, count in zip(starts, counts, strict=True)
    ]
    starts[0], ends[0] = 0, 1 << 30  # the batch
    words = [walk.made.numbers(*numbers) for numbers in (starts, ends, range(len(starts)))]
    walk.result(operator, "Slice", [walk.name(x), *words])


def _split(walk: _Walk, operator: Operator) -> None:
    axis = int(walk.values(operator.inputs[0]).ravel()[0])
    names = [f"t{index}" for index in operator.outputs]
    walk.names.update(zip(operator.outputs, names, strict=True))
    walk.made.split([walk.name(operator.inputs[1])], names, axis=axis, num_outputs=len(names))


def _batch_matmul(walk: _Walk, operator: Operator) -> None:
    walk.result(operator, "MatMul", [walk.name(index) for index in operator.inputs])


OPERATORS: Mapping[str, Callable[[_Walk, Operator], None]] = {
    "ARG_MAX": _arg_max,
    "AVERAGE_POOL_2D": _pool,
    "BATCH_MATMUL": _batch_matmul,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "EXPAND_DIMS": _reshape,
    "FULLY_CONNECTED": _fully_connected,
    "GELU": _gelu,
    "LEAKY_RELU": _leaky_relu,
    "LOG_SOFTMAX": _head,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "PACK": _without_lengths,
    "PAD": _pad,
    "PRELU": _prelu,
    "RELU6": _clip,
    "RELU_N1_TO_1": _clip,
    "RESHAPE": _reshape,
    "RSQRT": _power,
    "SHAPE": _without_lengths,
    "SLICE": _slice,
    "SOFTMAX": _head,
    "SPLIT": _split,
    "SQUARE": _power,
    "SQUEEZE": _reshape,
    "STRIDED_SLICE": _strided_slice,
    "SUM": _mean,
    "TRANSPOSE": _transpose,
}
