"""ONNX operators that move numbers and change none: of a vector they only change its order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from quarl.graph.policy import Concat
from quarl.importers.draft import Head, Linear
from quarl.importers.onnx.constants import split_lengths
from quarl.importers.onnx.values import (
    BATCH,
    Known,
    Value,
    WrongLayoutError,
    attribute_of,
    axes_of,
    name_of,
    vector,
)
from quarl.importers.onnx.walk import Operators, Walk

SEVERAL = 3  # observations a reshape is tried with, to see where the batch goes
CASTS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}


def _is_index(walk: Walk, value: Value) -> bool:
    """Whether the value is an argmax, whose shape and type do not matter any more."""
    nodes = walk.builder.nodes
    found = next((node for node in reversed(nodes) if node.name == value.node), None)
    return found is not None and isinstance(found.op, Head) and found.op.function == "argmax"


def _flatten(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    rank = len(x.shape)
    if x.batch != 0 or int(attribute_of(node, "axis", 1)) % (rank or 1) != 1 % (rank or 1):
        raise walk.unsupported(node, "does not keep the batch axis")
    flat = walk.flat(node, x)
    return Value(flat.node, "flat", (), flat.order.reshape(1, -1))


def _reshape(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    if _is_index(walk, x):
        return x
    target = [int(length) for length in walk.weights(node, inputs[1]).ravel()]
    if not attribute_of(node, "allowzero", 0):
        shape = x.shape
        target = [
            shape[index] if length == 0 and index < len(shape) else length
            for index, length in enumerate(target)
        ]
    if x.layout != "flat" and target[1:] == list(x.dims) and len(target) > 1:
        return x
    flat = walk.flat(node, x)
    found = _reshaped(flat, target, walk.batch)
    if found is None:
        shown = ["batch" if length == BATCH else length for length in x.shape]
        raise walk.unsupported(
            node, f"turns {shown} into {target}, which mixes observations or does not fit"
        )
    return found


def _reshaped(x: Value, target: Sequence[int], batch: int) -> Value | None:
    """Return the vector in another shape, None where observations would mix.

    Tried with several observations at once: one axis of the result must count them.
    """
    size = x.order.size
    if x.batch >= 0:
        numbers = np.moveaxis(
            np.stack([x.order.squeeze(x.batch) + size * turn for turn in range(SEVERAL)]),
            0,
            x.batch,
        )
        lengths = [SEVERAL if length == BATCH else length for length in target]
        if batch > 0:  # the file was exported for a fixed number of observations
            lengths = [
                SEVERAL if n == batch and place == 0 else n for place, n in enumerate(lengths)
            ]
        try:
            made = numbers.reshape(lengths)
        except ValueError:
            made = None
        for axis in range(0 if made is None else made.ndim):
            assert made is not None
            if made.shape[axis] == SEVERAL and _counts(made, axis, size):
                return Value(x.node, "flat", (), made.take([0], axis=axis), axis)
    if batch not in (1, BATCH) and x.batch >= 0:
        return None
    if batch == BATCH and x.batch >= 0:
        return None
    try:
        order = x.order.reshape([1 if length == BATCH else length for length in target])
    except ValueError:
        return None
    ones = [axis for axis, length in enumerate(order.shape) if length == 1]
    return Value(x.node, "flat", (), order, ones[0] if ones else -1)


def _counts(numbers: NDArray[np.int64], axis: int, size: int) -> bool:
    """Whether an axis counts observations, each of which has the same places."""
    turns = np.moveaxis(numbers, axis, 0)
    return all(np.array_equal(turns[turn], turns[0] + size * turn) for turn in range(len(turns)))


def _squeeze(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    if _is_index(walk, x):
        return x
    flat = walk.flat(node, x)
    axes = axes_of(node, inputs, flat.order.ndim)
    if axes is None:
        axes = [
            axis
            for axis, length in enumerate(flat.order.shape)
            if length == 1 and (axis != flat.batch or walk.batch == 1)
        ]
    if any(flat.order.shape[axis] != 1 for axis in axes) or (
        flat.batch in axes and walk.batch != 1
    ):
        raise walk.unsupported(node, f"of {list(x.shape[1:])} takes axes {axes}")
    batch = -1 if flat.batch in axes else flat.batch - sum(axis < flat.batch for axis in axes)
    return Value(flat.node, "flat", (), flat.order.squeeze(tuple(axes)), batch)


def _unsqueeze(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    if _is_index(walk, x):
        return x
    flat = walk.flat(node, x)
    given = inputs[1] if len(inputs) > 1 else np.asarray(attribute_of(node, "axes", [0]))
    axes = axes_of(node, [x, given], flat.order.ndim + int(np.size(_array(given)))) or [0]
    order = np.expand_dims(flat.order, tuple(axes))
    batch = flat.batch
    if batch < 0:
        return Value(flat.node, "flat", (), order, axes[0])
    for axis in axes:
        batch += axis <= batch
    return Value(flat.node, "flat", (), order, batch)


def _array(value: Known) -> NDArray[np.generic]:
    assert not isinstance(value, Value)
    return value


def _transpose(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    rank = len(x.shape)
    perm = tuple(attribute_of(node, "perm", tuple(range(rank - 1, -1, -1))))
    if perm == tuple(range(rank)):
        return x
    if x.layout == "flat":
        batch = perm.index(x.batch) if x.batch >= 0 else -1
        return Value(x.node, "flat", (), x.order.transpose(perm), batch)
    if perm in ((0, 2, 3, 1), (0, 3, 1, 2)):
        to_last = perm == (0, 2, 3, 1)
        dims = (x.dims[1], x.dims[2], x.dims[0]) if to_last else (x.dims[2], x.dims[0], x.dims[1])
        if (x.layout == "nchw") == to_last:
            return Value(x.node, "nhwc" if to_last else "nchw", dims, x.order)
        raise WrongLayoutError(
            f"{walk.path.name}: Transpose (node {name_of(node)!r}) does not fit the order of "
            "the input's axes"
        )
    if perm[0] != 0:
        raise walk.unsupported(node, f"by {perm} moves the batch of an image")
    flat = walk.flat(node, x)
    return Value(flat.node, "flat", (), flat.order.transpose(perm))


def _concat(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    values = [walk.tensor(node, value) for value in inputs if isinstance(value, Value)]
    first = values[0]
    axis = int(attribute_of(node, "axis", 1)) % len(first.shape)
    if len(inputs) == 1:
        return first
    if len(values) == len(inputs) and all(_is_index(walk, value) for value in values):
        return _several_choices(walk, node, values)
    is_image = all(value.layout == first.layout != "flat" for value in values)
    if is_image and len(values) == len(inputs) and axis == (3 if first.layout == "nhwc" else 1):
        return walk.add(node, Concat(), values)
    parts = [walk.flat(node, value) for value in values]
    rank = parts[0].order.ndim
    if axis == parts[0].batch or any(
        (part.batch, part.order.ndim) != (parts[0].batch, rank) for part in parts
    ):
        raise walk.unsupported(node, f"joins along axis {axis}, the batch, or different shapes")
    turn = iter(parts)
    all_parts = [
        next(turn) if isinstance(value, Value) else _constant_part(walk, node, value, parts[0])
        for value in inputs
    ]
    return _joined(walk, node, all_parts, axis)


def _several_choices(walk: Walk, node: NodeProto, indices: Sequence[Value]) -> Value:
    """Append several indices of a largest output as what they are together: several choices."""
    ends = [walk.without_heads(value.node) for value in indices]
    counts = tuple(walk.builder.shapes[end][0] for end in ends)
    joined = walk.builder.add(f"{name_of(node)}.choices", Concat(), ends, "")
    return walk.add(node, Head("argmax", counts), [vector(joined, (1, sum(counts)))])


def _constant_part(
    walk: Walk, node: NodeProto, constant: NDArray[np.generic], beside: Value
) -> Value:
    """Return a constant as a step that ignores what it reads."""
    numbers = walk.weights(node, constant)
    if numbers.ndim != beside.order.ndim or numbers.shape[beside.batch] != 1:
        raise walk.unsupported(node, f"joins a constant of shape {numbers.shape}")
    count = walk.builder.shapes[beside.node][0]
    step = Linear(np.zeros((numbers.size, count)), numbers.ravel())
    name = walk.builder.add(f"{name_of(node)}.constant", step, [beside.node], "")
    return vector(name, numbers.shape, beside.batch)


def _joined(walk: Walk, node: NodeProto, parts: Sequence[Value], axis: int) -> Value:
    """Return vectors one after the other; those of one step need no joining."""
    walk.check_size(node, sum(part.order.size for part in parts))
    names = list(dict.fromkeys(part.node for part in parts))
    lengths = [walk.builder.shapes[name][0] for name in names]
    starts = dict(zip(names, np.cumsum([0, *lengths])[:-1].tolist(), strict=True))
    order = np.concatenate([part.order + starts[part.node] for part in parts], axis=axis)
    joined = names[0]
    if len(names) > 1:
        joined = walk.builder.add(name_of(node), Concat(), names, node.output[0])
    return Value(joined, "flat", (), order, parts[0].batch)


def _slice(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.flat(node, walk.tensor(node, inputs[0]))
    if len(inputs) > 1:
        starts, ends = ([int(n) for n in walk.weights(node, v).ravel()] for v in inputs[1:3])
        axes, steps = (
            [int(n) for n in walk.weights(node, inputs[place]).ravel()]
            if len(inputs) > place and _array(inputs[place]).size
            else None
            for place in (3, 4)
        )
    else:  # opset 9
        starts, ends = (list(attribute_of(node, name, [])) for name in ("starts", "ends"))
        axes, steps = attribute_of(node, "axes", None), None
    axes = list(range(len(starts))) if axes is None else axes
    cut: list[slice] = [slice(None)] * x.order.ndim
    for place, axis in enumerate(axes):
        step = 1 if steps is None else steps[place]
        if axis % x.order.ndim == x.batch:
            if (starts[place], step) != (0, 1) or 0 <= ends[place] < (1 << 20) != 1 < walk.batch:
                raise walk.unsupported(node, "cuts observations out of the batch")
            continue
        end = None if step < 0 and ends[place] < -x.order.shape[axis] else ends[place]
        cut[axis] = slice(starts[place], end, step)
    return Value(x.node, "flat", (), x.order[tuple(cut)], x.batch)


def _split(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> tuple[Value, ...]:
    x = walk.flat(node, walk.tensor(node, inputs[0]))
    axis = int(attribute_of(node, "axis", 0)) % x.order.ndim
    if axis == x.batch:
        raise walk.unsupported(node, "cuts observations out of the batch")
    given = walk.weights(node, inputs[1]).ravel().astype(int).tolist() if len(inputs) > 1 else []
    lengths = split_lengths(node, x.order.shape[axis], given)
    parts = np.split(x.order, np.cumsum(lengths)[:-1], axis=axis)
    return tuple(Value(x.node, "flat", (), part, x.batch) for part in parts)


def _gather(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    if not isinstance(inputs[0], Value) or isinstance(inputs[1], Value):
        raise walk.unsupported(
            node, "looks up a table by what the network computes, which no layer does exactly"
        )
    x = walk.flat(node, walk.tensor(node, inputs[0]))
    axis = int(attribute_of(node, "axis", 0)) % x.order.ndim
    places = inputs[1].astype(np.int64)
    if axis == x.batch:
        raise walk.unsupported(node, "picks observations out of the batch")
    batch = x.batch + (places.ndim - 1 if x.batch > axis else 0)
    walk.check_size(node, x.order.size // max(x.order.shape[axis], 1), places.size)
    return Value(x.node, "flat", (), np.take(x.order, places, axis=axis), batch)


def _expand(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.flat(node, walk.tensor(node, inputs[0]))
    lengths = [int(length) for length in walk.weights(node, inputs[1]).ravel()]
    if node.op_type == "Tile":
        if x.batch >= 0 and lengths[x.batch] != 1:
            raise walk.unsupported(node, "repeats observations")
        walk.check_size(node, x.order.size, math.prod(lengths))
        return Value(x.node, "flat", (), np.tile(x.order, lengths), x.batch)
    target = [1 if length in (BATCH, -1) else length for length in lengths]
    shape = np.broadcast_shapes(x.order.shape, tuple(target))
    batch = x.batch + len(shape) - x.order.ndim if x.batch >= 0 else -1
    if batch >= 0 and shape[batch] != 1:
        raise walk.unsupported(node, "repeats observations")
    walk.check_size(node, math.prod(shape))
    return Value(x.node, "flat", (), np.broadcast_to(x.order, shape), batch)


def _where(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    if isinstance(inputs[0], Value):
        raise walk.unsupported(node, "chooses by what the network computes")
    chosen = inputs[0]
    if chosen.all() or not chosen.any():
        return walk.tensor(node, inputs[1 if chosen.all() else 2])
    raise walk.unsupported(node, "mixes two tensors by a constant pattern")


def _cast(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    kind = attribute_of(node, "to", TensorProto.FLOAT)
    if kind not in CASTS and not _is_index(walk, x):
        raise walk.unsupported(
            node,
            f"to {TensorProto.DataType.Name(kind)} is not carried over, only floats are",
        )
    return x


def _same(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    if len(inputs) > 2 and np.any(walk.weights(node, inputs[2])):
        raise walk.unsupported(
            node, "is in training mode, export the model in evaluation mode (model.eval())"
        )
    if node.op_type == "Identity" and isinstance(inputs[0], Value):
        return inputs[0]
    return walk.tensor(node, inputs[0])


SHAPES: Operators = {
    "Cast": _cast,
    "CastLike": _same,
    "Concat": _concat,
    "Dropout": _same,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _same,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _expand,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
