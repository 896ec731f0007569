"""What each TensorFlow operator is in ONNX terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from quarl.importers.savedmodel.graph import TYPES, Message, Operators, SavedGraph, constant_of

TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


def _read_variable(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    return saved.variable(node, inputs[0])


def _matmul(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    if node.attr["transpose_a"].b:
        raise saved.unsupported(node, "transposes its input")
    weights = (
        saved.emit(node, "Transpose", [inputs[1]], perm=(1, 0))
        if node.attr["transpose_b"].b
        else inputs[1]
    )
    return saved.emit(node, "MatMul", [inputs[0], weights])


def _bias_add(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    _check_format(saved, node)
    return saved.emit(node, "Add", inputs)


def _conv2d(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    weights = saved.emit(node, "Transpose", [inputs[1]], perm=(3, 2, 0, 1))
    return _spatial(saved, node, "Conv", [inputs[0], weights], **_window(saved, node))


def _depthwise(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    shape = saved.number(node, inputs[1]).shape
    if len(shape) != 4 or shape[3] != 1:
        raise saved.unsupported(
            node, f"has weights of shape {shape}, one filter per channel is carried over"
        )
    weights = saved.emit(node, "Transpose", [inputs[1]], perm=(2, 3, 0, 1))
    return _spatial(
        saved, node, "Conv", [inputs[0], weights], group=shape[2], **_window(saved, node)
    )


def _average_pool(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    size = list(node.attr["ksize"].list.i)
    return _spatial(
        saved, node, "AveragePool", inputs, kernel_shape=size[1:3], **_window(saved, node)
    )


def _max_pool(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    size = list(node.attr["ksize"].list.i)
    return _spatial(saved, node, "MaxPool", inputs, kernel_shape=size[1:3], **_window(saved, node))


def _batch_norm(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    _check_format(saved, node)
    if node.attr["is_training"].b:
        raise saved.unsupported(
            node, "is in training mode, export the model for inference (model.export)"
        )
    return _spatial(
        saved, node, "BatchNormalization", inputs, epsilon=float(node.attr["epsilon"].f)
    )


def _spatial(
    saved: SavedGraph, node: Message, kind: str, inputs: Sequence[str], **attributes: Any
) -> str:
    """Emit an operator that ONNX knows in NCHW order alone, between two transposes."""
    first = saved.emit(node, "Transpose", [inputs[0]], perm=TO_FIRST)
    return saved.emit(
        node,
        "Transpose",
        [saved.emit(node, kind, [first, *inputs[1:]], **attributes)],
        perm=TO_LAST,
    )


def _check_format(saved: SavedGraph, node: Message) -> None:
    if node.attr["data_format"].s not in (b"", b"NHWC"):
        raise saved.unsupported(
            node, f"has the format {node.attr['data_format'].s.decode()}, only NHWC is carried over"
        )


def _window(saved: SavedGraph, node: Message) -> dict[str, Any]:
    """Return strides, dilations and padding as ONNX attributes."""
    _check_format(saved, node)
    strides = list(node.attr["strides"].list.i)
    attributes: dict[str, Any] = {
        "strides": strides[1:3],
        "dilations": list(node.attr["dilations"].list.i)[1:3] or [1, 1],
    }
    if node.op == "AvgPool":
        del attributes["dilations"]
    padding = node.attr["padding"].s
    if padding == b"EXPLICIT":
        pads = list(node.attr["explicit_paddings"].list.i)
        return attributes | {"pads": [pads[2], pads[4], pads[3], pads[5]]}
    return attributes | {
        "auto_pad": {b"SAME": "SAME_UPPER", b"VALID": "VALID"}.get(
            padding, padding.decode("utf-8", "replace")
        )
    }


def _relu6(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    bounds = [saved.constant(node, np.array(bound, np.float32)) for bound in (0, 6)]
    return saved.emit(node, "Clip", [inputs[0], *bounds])


def _rsqrt(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    return saved.emit(node, "Reciprocal", [saved.emit(node, "Sqrt", inputs)])


def _cast(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    kind = node.attr["DstT"].type
    if kind not in TYPES:
        raise saved.unsupported(node, "casts to a type that is not carried over, only float32 is")
    return saved.emit(node, "Cast", inputs, to=TYPES[kind])


def _concat(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    return saved.emit(node, "Concat", inputs[:-1], axis=int(saved.number(node, inputs[-1])))


def _mean(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    axes = saved.constant(node, np.ravel(saved.number(node, inputs[1])).astype(np.int64))
    return saved.emit(node, "ReduceMean", [inputs[0], axes], keepdims=int(node.attr["keep_dims"].b))


def _arg_max(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    return saved.emit(
        node, "ArgMax", [inputs[0]], axis=int(saved.number(node, inputs[1])), keepdims=0
    )


def _transpose(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    return saved.emit(
        node, "Transpose", [inputs[0]], perm=[int(axis) for axis in saved.number(node, inputs[1])]
    )


def _squeeze(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    axes = list(node.attr["squeeze_dims"].list.i)
    return saved.emit(
        node,
        "Squeeze",
        [inputs[0], saved.constant(node, np.array(axes, np.int64))] if axes else inputs,
    )


def _expand_dims(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    axes = saved.constant(node, np.ravel(saved.number(node, inputs[1])).astype(np.int64))
    return saved.emit(node, "Unsqueeze", [inputs[0], axes])


def _strided_slice(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    """One element or a run of a shape, or slices of a tensor's axes."""
    begin, end, stride = (saved.number(node, tensor) for tensor in inputs[1:4])
    masks = {
        name: node.attr[name].i
        for name in ("begin_mask", "end_mask", "shrink_axis_mask", "ellipsis_mask", "new_axis_mask")
    }
    if begin.ndim != 1 or masks["ellipsis_mask"] or masks["new_axis_mask"]:
        raise saved.unsupported(node, "adds axes or leaves some out: slice each axis by itself")
    axes: list[int] = []
    starts: list[int] = []
    ends: list[int] = []
    dropped: list[int] = []
    for axis in range(len(begin)):
        bit = 1 << axis
        if masks["shrink_axis_mask"] & bit:
            dropped.append(axis)
            last = int(begin[axis]) + 1 or np.iinfo(np.int32).max
            starts, ends = [*starts, int(begin[axis])], [*ends, last]
        else:
            starts.append(0 if masks["begin_mask"] & bit else int(begin[axis]))
            ends.append(np.iinfo(np.int32).max if masks["end_mask"] & bit else int(end[axis]))
        axes.append(axis)
    numbers = [
        saved.constant(node, np.array(values, np.int64))
        for values in (starts, ends, axes, stride.tolist())
    ]
    cut = saved.emit(node, "Slice", [inputs[0], *numbers])
    if not dropped:
        return cut
    return saved.emit(node, "Squeeze", [cut, saved.constant(node, np.array(dropped, np.int64))])


def _leaky_relu(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    return saved.emit(node, "LeakyRelu", inputs, alpha=float(node.attr["alpha"].f))


def _square(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    return saved.emit(node, "Mul", [inputs[0], inputs[0]])


def _gather(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    axis = int(saved.number(node, inputs[2]))
    return saved.emit(node, "Gather", inputs[:2], axis=axis)


def _sum(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    axes = saved.constant(node, np.ravel(saved.number(node, inputs[1])).astype(np.int64))
    return saved.emit(node, "ReduceSum", [inputs[0], axes], keepdims=int(node.attr["keep_dims"].b))


def _pack(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    if node.attr["axis"].i:
        raise saved.unsupported(node, "stacks tensors")
    axes = saved.constant(node, np.array([0], np.int64))
    return saved.emit(
        node, "Concat", [saved.emit(node, "Unsqueeze", [tensor, axes]) for tensor in inputs], axis=0
    )


def _erfc(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> str:
    one = saved.constant(node, np.ones((), np.float32))
    return saved.emit(node, "Sub", [one, saved.emit(node, "Erf", inputs)])


def _same(saved: SavedGraph, node: Message, inputs: Sequence[str]) -> Sequence[str]:
    """IdentityN, which carries a gradient of its own."""
    return inputs


def _renamed(kind: str) -> Callable[[SavedGraph, Message, Sequence[str]], str]:
    return lambda saved, node, inputs: saved.emit(node, kind, inputs)


OPERATORS: Operators = {
    "Abs": _renamed("Abs"),
    "Add": _renamed("Add"),
    "AddV2": _renamed("Add"),
    "ArgMax": _arg_max,
    "AvgPool": _average_pool,
    "BiasAdd": _bias_add,
    "Cast": _cast,
    "ClipByValue": _renamed("Clip"),
    "ConcatV2": _concat,
    "Const": constant_of,
    "Conv2D": _conv2d,
    "Cos": _renamed("Cos"),
    "DepthwiseConv2dNative": _depthwise,
    "Div": _renamed("Div"),
    "Elu": _renamed("Elu"),
    "Erf": _renamed("Erf"),
    "Erfc": _erfc,
    "Exp": _renamed("Exp"),
    "ExpandDims": _expand_dims,
    "FusedBatchNormV3": _batch_norm,
    "GatherV2": _gather,
    "Identity": _renamed("Identity"),
    "IdentityN": _same,
    "LeakyRelu": _leaky_relu,
    "Log": _renamed("Log"),
    "LogSoftmax": _renamed("LogSoftmax"),
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Maximum": _renamed("Max"),
    "Mean": _mean,
    "Minimum": _renamed("Min"),
    "Mul": _renamed("Mul"),
    "Neg": _renamed("Neg"),
    "Pack": _pack,
    "Pow": _renamed("Pow"),
    "ReadVariableOp": _read_variable,
    "RealDiv": _renamed("Div"),
    "Reciprocal": _renamed("Reciprocal"),
    "Relu": _renamed("Relu"),
    "Relu6": _relu6,
    "Reshape": _renamed("Reshape"),
    "Rsqrt": _rsqrt,
    "Selu": _renamed("Selu"),
    "Shape": _renamed("Shape"),
    "Sigmoid": _renamed("Sigmoid"),
    "Sin": _renamed("Sin"),
    "Softmax": _renamed("Softmax"),
    "Softplus": _renamed("Softplus"),
    "Softsign": _renamed("Softsign"),
    "Sqrt": _renamed("Sqrt"),
    "Square": _square,
    "Squeeze": _squeeze,
    "StopGradient": _renamed("Identity"),
    "StridedSlice": _strided_slice,
    "Sub": _renamed("Sub"),
    "Sum": _sum,
    "Tanh": _renamed("Tanh"),
    "Transpose": _transpose,
}
