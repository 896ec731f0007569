"""ONNX operators that move numbers and change none."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, TensorProto

from quarl.graph.policy import Concat
from quarl.importers.draft import Head
from quarl.importers.onnx.values import (
    BATCH,
    Known,
    Value,
    WrongLayoutError,
    attribute_of,
    axes_of,
    name_of,
)
from quarl.importers.onnx.walk import Operators, Walk


def _is_index(walk: Walk, value: Value) -> bool:
    """Whether the value is an argmax, whose shape and type do not matter any more."""
    return (
        bool(walk.builder.nodes)
        and walk.builder.nodes[-1].name == value.node
        and walk.builder.nodes[-1].op == Head("argmax")
    )


def _flatten(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    if int(attribute_of(node, "axis", 1)) % (len(x.dims) + 1) != 1:
        raise walk.unsupported(node, "does not keep the batch axis")
    return walk.flatten(node, x)


def _reshape(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    if _is_index(walk, x):
        return x
    target = [int(length) for length in walk.weights(node, inputs[1]).ravel()]
    source = [BATCH, *x.dims]
    if not attribute_of(node, "allowzero", 0):
        target = [
            source[index] if length == 0 and index < len(source) else length
            for index, length in enumerate(target)
        ]
    if len(target) > 1 and target[0] in (BATCH, walk.batch, -1, 1):
        if target[1:] == list(x.dims):
            return x
        if target[1:] in ([math.prod(x.dims)], [-1]) and target != [-1, -1]:
            return walk.flatten(node, x)
    raise walk.unsupported(
        node, f"turns {['batch', *x.dims]} into {target}, only flattening is carried over"
    )


def _squeeze(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    if _is_index(walk, x):
        return x
    spatial = [2, 3] if x.layout == "nchw" else [1, 2]
    if (
        x.layout == "flat"
        or axes_of(node, inputs, 4) != spatial
        or walk.builder.shapes[x.node][:2] != (1, 1)
    ):
        raise walk.unsupported(
            node, f"of {x.dims} is carried over only for a height and width of 1"
        )
    return walk.flatten(node, x)


def _transpose(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    perm = tuple(attribute_of(node, "perm", tuple(range(len(x.dims), -1, -1))))
    if perm == tuple(range(len(x.dims) + 1)):
        return x
    if x.layout != "flat" and perm in ((0, 2, 3, 1), (0, 3, 1, 2)):
        to_last = perm == (0, 2, 3, 1)
        dims = (x.dims[1], x.dims[2], x.dims[0]) if to_last else (x.dims[2], x.dims[0], x.dims[1])
        if (x.layout == "nchw") == to_last:
            return Value(x.node, "nhwc" if to_last else "nchw", dims, x.order)
        raise WrongLayoutError(
            f"{walk.path.name}: Transpose (node {name_of(node)!r}) does not fit the order of "
            "the input's axes"
        )
    raise walk.unsupported(
        node, f"by {perm} is carried over only between channels first and channels last"
    )


def _concat(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    parts = [walk.tensor(node, value) for value in inputs]
    first = parts[0]
    axis = int(attribute_of(node, "axis", 1)) % (len(first.dims) + 1)
    channel_axis = 3 if first.layout == "nhwc" else 1
    if any(part.layout != first.layout for part in parts) or axis != channel_axis:
        raise walk.unsupported(
            node, f"joins along axis {axis}, carried over are vectors and channels"
        )
    if len(parts) == 1:
        return first
    joined = walk.add(node, Concat(), parts)
    if first.layout != "flat":
        return joined
    starts = np.cumsum([0, *(len(part.order) for part in parts)])
    order = np.concatenate([part.order + start for part, start in zip(parts, starts, strict=False)])
    return Value(joined.node, "flat", joined.dims, order)


def _cast(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    kind = attribute_of(node, "to", TensorProto.FLOAT)
    if kind != TensorProto.FLOAT and not _is_index(walk, x):
        raise walk.unsupported(
            node, f"to {TensorProto.DataType.Name(kind)} is not carried over, only float32 is"
        )
    return x


def _same(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    if len(inputs) > 2 and np.any(walk.weights(node, inputs[2])):
        raise walk.unsupported(
            node, "is in training mode, export the model in evaluation mode (model.eval())"
        )
    return walk.tensor(node, inputs[0])


SHAPES: Operators = {
    "Cast": _cast,
    "Concat": _concat,
    "Dropout": _same,
    "Flatten": _flatten,
    "Identity": _same,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _squeeze,
}
