"""What a node of constants computes: shapes, and statistics the exporter left unfolded.

The batch length is unknown in a shape (`BATCH`); an array made of such a shape has one row, which
spreads over all observations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from quarl.graph.functions import UNARY
from quarl.importers.onnx.values import BATCH, attribute_of, axes_of

Arrays = Sequence[NDArray[Any]]
SPREADING = {
    *("Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max"),
    *("Min", "Mul", "Or", "Pow", "Sub", "Where"),
}


def split_lengths(node: NodeProto, length: int, given: Sequence[Any]) -> list[int]:
    """Return how long each part is that a Split makes of one axis.

    Raises:
        ValueError: the parts are not the whole.
    """
    count = len(node.output)
    size = -(-length // count)
    known = [int(part) for part in given] or attribute_of(node, "split", None)
    lengths = known or [min(size, length - size * turn) for turn in range(count)]
    if sum(lengths) != length or min(lengths) < 0 or len(lengths) != count:
        raise ValueError(f"parts of {list(lengths)} of a length of {length}")
    return list(lengths)


def split_constant(node: NodeProto, arrays: Arrays) -> tuple[NDArray[Any], ...]:
    """Return the parts of a constant that a Split makes."""
    axis = int(attribute_of(node, "axis", 0))
    given = np.ravel(arrays[1]).tolist() if len(arrays) > 1 else []
    lengths = split_lengths(node, arrays[0].shape[axis], given)
    return tuple(np.split(arrays[0], np.cumsum(lengths)[:-1], axis=axis))


def _slice(node: NodeProto, arrays: Arrays) -> NDArray[Any]:
    starts, ends = (np.ravel(a).astype(np.int64).tolist() for a in arrays[1:3])
    axes = np.ravel(arrays[3]).tolist() if len(arrays) > 3 else list(range(len(starts)))
    steps = np.ravel(arrays[4]).tolist() if len(arrays) > 4 else [1] * len(starts)
    cut: list[slice] = [slice(None)] * arrays[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        cut[int(axis)] = slice(int(start), int(end), int(step))
    return arrays[0][tuple(cut)]


def _product(node: NodeProto, arrays: Arrays) -> NDArray[Any]:
    if (arrays[0] == BATCH).any():
        raise ValueError("the batch length goes into a product")
    return np.asarray(np.prod(arrays[0], keepdims=bool(attribute_of(node, "keepdims", 1))))


def _multiply(node: NodeProto, arrays: Arrays) -> NDArray[Any]:
    left, right = arrays
    for shape, factor in ((left, right), (right, left)):
        if shape.dtype.kind == "i" and (shape == BATCH).any():
            if not (factor == 1).all():
                raise ValueError("the batch length goes into a product")
            return shape
    return np.asarray(left * right)


def _cast(node: NodeProto, arrays: Arrays) -> NDArray[Any]:
    return arrays[0].astype(
        onnx.helper.tensor_dtype_to_np_dtype(attribute_of(node, "to", TensorProto.FLOAT))
    )


def _lengths(shape: NDArray[Any]) -> list[int]:
    return [1 if int(length) == BATCH else int(length) for length in np.ravel(shape)]


def _filled(node: NodeProto, arrays: Arrays) -> NDArray[Any]:
    value = attribute_of(node, "value", None)
    number = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    return np.full(_lengths(arrays[0]), number.reshape(()), number.dtype)


def _expand(node: NodeProto, arrays: Arrays) -> NDArray[Any]:
    target = [1 if length == -1 else length for length in _lengths(arrays[1])]
    return np.broadcast_to(arrays[0], np.broadcast_shapes(arrays[0].shape, tuple(target)))


def _reduce(function: Callable[..., Any]) -> Callable[[NodeProto, Arrays], NDArray[Any]]:
    def reduced(node: NodeProto, arrays: Arrays) -> NDArray[Any]:
        axes = axes_of(node, arrays, arrays[0].ndim)
        keeps = bool(attribute_of(node, "keepdims", 1))
        axis = None if axes is None else tuple(axes)
        return np.asarray(function(arrays[0], axis=axis, keepdims=keeps))

    return reduced


def _clip(node: NodeProto, arrays: Arrays) -> NDArray[Any]:
    bounds = [array if array.size else None for array in [*arrays[1:], *[np.zeros(0)] * 2][:2]]
    low = attribute_of(node, "min", -math.inf) if bounds[0] is None else bounds[0]
    high = attribute_of(node, "max", math.inf) if bounds[1] is None else bounds[1]
    return np.clip(arrays[0], low, high)


def _range(node: NodeProto, arrays: Arrays) -> NDArray[Any]:
    start, end, step = (array.reshape(()) for array in arrays)
    return np.arange(start, end, step)  # type: ignore[no-any-return,call-overload]


def _unary(function: Callable[..., NDArray[Any]]) -> Callable[[NodeProto, Arrays], Any]:
    return lambda node, arrays: function(arrays[0])


def _reshape(node: NodeProto, arrays: Arrays) -> NDArray[Any]:
    return arrays[0].reshape(_lengths(arrays[1]))


def result_size(node: NodeProto, arrays: Arrays) -> int:
    """Return how many values a node of constants makes, before it is computed."""
    if node.op_type == "Gather":
        length = max(arrays[0].shape[attribute_of(node, "axis", 0)], 1)
        return int(arrays[1].size * (arrays[0].size // length))
    if node.op_type in SPREADING:
        return math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))
    if node.op_type == "ConstantOfShape":
        return abs(math.prod(_lengths(arrays[0])))
    if node.op_type == "Expand":
        target = tuple(max(length, 1) for length in _lengths(arrays[1]))
        return math.prod(np.broadcast_shapes(arrays[0].shape, target))
    if node.op_type == "Range":
        start, end, step = (float(array.reshape(())) for array in arrays)
        return int(abs((end - start) / step)) + 1
    if node.op_type == "MatMul":
        return max(arrays[0].size, 1) * max(arrays[1].size, 1)
    return sum(array.size for array in arrays)


CONSTANTS: dict[str, Callable[[NodeProto, Arrays], Any]] = {
    **{name.capitalize(): _unary(function) for name, function in UNARY.items()},
    "Add": lambda node, a: a[0] + a[1],
    "And": lambda node, a: a[0] & a[1],
    "Cast": _cast,
    "CastLike": lambda node, a: a[0].astype(a[1].dtype),
    "Clip": _clip,
    "Concat": lambda node, a: np.concatenate(a, axis=attribute_of(node, "axis", 0)),
    "ConstantOfShape": _filled,
    "Div": lambda node, a: a[0] // a[1] if a[0].dtype.kind in "iu" else a[0] / a[1],
    "Equal": lambda node, a: a[0] == a[1],
    "Expand": _expand,
    "Gather": lambda node, a: np.take(
        a[0], a[1].astype(np.int64), axis=attribute_of(node, "axis", 0)
    ),
    "Greater": lambda node, a: a[0] > a[1],
    "GreaterOrEqual": lambda node, a: a[0] >= a[1],
    "Identity": lambda node, a: a[0],
    "Less": lambda node, a: a[0] < a[1],
    "LessOrEqual": lambda node, a: a[0] <= a[1],
    "MatMul": lambda node, a: a[0] @ a[1],
    "Max": lambda node, a: np.maximum(a[0], a[1]),
    "Min": lambda node, a: np.minimum(a[0], a[1]),
    "Mul": _multiply,
    "Neg": lambda node, a: -a[0],
    "Not": lambda node, a: ~a[0],
    "Or": lambda node, a: a[0] | a[1],
    "Pow": lambda node, a: np.power(a[0], a[1]),
    "Range": _range,
    "Reciprocal": lambda node, a: 1 / a[0],
    "ReduceMean": _reduce(np.mean),
    "ReduceProd": _product,
    "ReduceSum": _reduce(np.sum),
    "Reshape": _reshape,
    "Shape": lambda node, a: np.array(a[0].shape, np.int64),
    "Slice": _slice,
    "Squeeze": lambda node, a: a[0].squeeze(
        None if (axes := axes_of(node, a, a[0].ndim)) is None else tuple(axes)
    ),
    "Sub": lambda node, a: a[0] - a[1],
    "Transpose": lambda node, a: a[0].transpose(attribute_of(node, "perm", None)),
    "Unsqueeze": lambda node, a: np.expand_dims(
        a[0],
        tuple(axes_of(node, a, a[0].ndim + max(np.size(a[1]) if len(a) > 1 else 1, 1)) or (0,)),
    ),
    "Where": lambda node, a: np.where(a[0], a[1], a[2]),
}
