"""What a node of constants computes: shapes, and statistics the exporter left unfolded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from quarl.importers.onnx.values import BATCH, attribute_of, axes_of


def _slice(node: NodeProto, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    starts, ends = (np.ravel(a).astype(np.int64) for a in arrays[1:3])
    if arrays[0].ndim != 1 or len(starts) != 1 or (len(arrays) > 4 and np.ravel(arrays[4])[0] < 1):
        raise ValueError("only a slice of a shape is computed")
    step = int(np.ravel(arrays[4])[0]) if len(arrays) > 4 else 1
    return arrays[0][int(starts[0]) : int(ends[0]) : step]


def _product(node: NodeProto, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if (arrays[0] == BATCH).any():
        raise ValueError("the batch length goes into a product")
    return np.asarray(np.prod(arrays[0], keepdims=bool(attribute_of(node, "keepdims", 1))))


def _multiply(node: NodeProto, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if arrays[0].dtype.kind == "i" and any((array == BATCH).any() for array in arrays):
        raise ValueError("the batch length goes into a product")
    return np.asarray(arrays[0] * arrays[1])


def _cast_constant(node: NodeProto, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0].astype(
        onnx.helper.tensor_dtype_to_np_dtype(attribute_of(node, "to", TensorProto.FLOAT))
    )


def result_size(node: NodeProto, arrays: Sequence[NDArray[Any]]) -> int:
    """Return how many values a node of constants makes, before it is computed."""
    if node.op_type == "Gather":
        return int(
            arrays[1].size
            * (arrays[0].size // max(arrays[0].shape[attribute_of(node, "axis", 0)], 1))
        )
    if node.op_type in ("Add", "Div", "Max", "Min", "Mul", "Sub"):
        return math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))
    return sum(array.size for array in arrays)


CONSTANTS: dict[str, Callable[[NodeProto, Sequence[NDArray[Any]]], Any]] = {
    "Add": lambda node, a: a[0] + a[1],
    "Cast": _cast_constant,
    "Concat": lambda node, a: np.concatenate(a, axis=attribute_of(node, "axis", 0)),
    "Div": lambda node, a: a[0] // a[1] if a[0].dtype.kind in "iu" else a[0] / a[1],
    "Gather": lambda node, a: np.take(
        a[0], a[1].astype(np.int64), axis=attribute_of(node, "axis", 0)
    ),
    "Identity": lambda node, a: a[0],
    "Max": lambda node, a: np.maximum(a[0], a[1]),
    "Min": lambda node, a: np.minimum(a[0], a[1]),
    "Mul": _multiply,
    "Neg": lambda node, a: -a[0],
    "Reciprocal": lambda node, a: 1 / a[0],
    "ReduceProd": _product,
    "Reshape": lambda node, a: a[0].reshape([int(length) for length in a[1]]),
    "Slice": _slice,
    "Sqrt": lambda node, a: np.sqrt(a[0]),
    "Squeeze": lambda node, a: a[0].squeeze(
        None if (axes := axes_of(node, a, a[0].ndim)) is None else tuple(axes)
    ),
    "Sub": lambda node, a: a[0] - a[1],
    "Transpose": lambda node, a: a[0].transpose(attribute_of(node, "perm", None)),
    "Unsqueeze": lambda node, a: np.expand_dims(
        a[0], tuple(axes_of(node, a, a[0].ndim + 1) or (0,))
    ),
}
