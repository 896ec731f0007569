"""ONNX operators that compute each number by itself, and those that end a policy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from quarl.graph.policy import Activation, Add
from quarl.importers.draft import RELU, Clip, Head, affine
from quarl.importers.onnx.values import (
    LOG_SUM,
    NOTHING,
    Known,
    Value,
    attribute_of,
    axes_of,
    is_given,
)
from quarl.importers.onnx.walk import Operators, Walk


def _log_sum_exp(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    if (
        x.layout != "flat"
        or axes_of(node, inputs, 2) != [1]
        or not attribute_of(node, "keepdims", 1)
    ):
        raise walk.unsupported(node, "is carried over only as part of a softmax")
    return Value(x.node, LOG_SUM, (1,), x.order)


def add_affine(
    walk: Walk, node: NodeProto, x: Value, scale: NDArray[np.float64], offset: NDArray[np.float64]
) -> Value:
    """Append y = x * scale + offset, constants of any shape that spreads over x."""
    count = walk.builder.shapes[x.node][-1]
    return walk.add(
        node, affine(walk.channels(node, x, scale), walk.channels(node, x, offset), count), [x]
    )


ONE, ZERO = np.ones(()), np.zeros(())


def _add(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    left, right = inputs
    if isinstance(left, Value) and isinstance(right, Value):
        if (
            left.dims != right.dims
            or left.layout != right.layout
            or not np.array_equal(left.order, right.order)
        ):
            raise walk.unsupported(
                node, f"adds {left.dims} and {right.dims}, which must be equal and in one order"
            )
        return walk.add(node, Add(), [left, right])
    x, constant = (left, right) if isinstance(left, Value) else (right, left)
    return add_affine(walk, node, walk.tensor(node, x), ONE, walk.weights(node, constant))


def _sub(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    left, right = inputs
    if isinstance(left, Value) and isinstance(right, Value):
        if right.layout == LOG_SUM and right.node == left.node:
            return walk.add(node, Head("log_softmax"), [left])
        raise walk.unsupported(
            node, "of two layers' outputs cannot be carried over, with a constant it can"
        )
    if isinstance(left, Value):
        return add_affine(walk, node, left, ONE, -walk.weights(node, right))
    return add_affine(walk, node, walk.tensor(node, right), -ONE, walk.weights(node, left))


def _mul(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    left, right = inputs
    if isinstance(left, Value) and isinstance(right, Value):
        raise walk.unsupported(
            node, "of two layers' outputs cannot be carried over, with a constant it can"
        )
    x, constant = (left, right) if isinstance(left, Value) else (right, left)
    return add_affine(walk, node, walk.tensor(node, x), walk.weights(node, constant), ZERO)


def _div(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    if isinstance(inputs[1], Value):
        raise walk.unsupported(node, "divides by a layer's output")
    divisor = walk.weights(node, inputs[1])
    if not divisor.all():
        raise walk.unsupported(node, "divides by zero")
    return add_affine(walk, node, walk.tensor(node, inputs[0]), 1 / divisor, ZERO)


def _neg(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    return add_affine(walk, node, walk.tensor(node, inputs[0]), -ONE, ZERO)


def _clip(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    given = [*inputs[1:], NOTHING, NOTHING][:2]
    defaults = (attribute_of(node, "min", -math.inf), attribute_of(node, "max", math.inf))
    low, high = (
        float(walk.weights(node, v).ravel()[0]) if is_given(v) else float(d)
        for v, d in zip(given, defaults, strict=True)
    )
    return _bounded(walk, node, x, low, high)


def _min_max(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    left, right = inputs
    x, constant = (left, right) if isinstance(left, Value) else (right, left)
    if isinstance(constant, Value) or constant.size != 1:
        raise walk.unsupported(node, "is carried over only with one constant number")
    bound = float(walk.weights(node, constant).ravel()[0])
    low, high = (bound, math.inf) if node.op_type == "Max" else (-math.inf, bound)
    return _bounded(walk, node, walk.tensor(node, x), low, high)


def _bounded(walk: Walk, node: NodeProto, x: Value, low: float, high: float) -> Value:
    limit = float(np.finfo(np.float32).max)
    low, high = -math.inf if low <= -limit else low, math.inf if high >= limit else high
    if (low, high) == (-math.inf, math.inf):
        return x
    return walk.add(
        node, Activation(RELU[low, high]) if (low, high) in RELU else Clip(low, high), [x]
    )


def _activation(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    if float(attribute_of(node, "alpha", 1.0)) != 1:
        raise walk.unsupported(
            node, f"has alpha {attribute_of(node, 'alpha', 1.0)}, only 1 is carried over"
        )
    name = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Elu": "elu"}[node.op_type]
    return walk.add(node, Activation(name), [walk.tensor(node, inputs[0])])


def _head(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    axis = int(attribute_of(node, "axis", 0 if node.op_type == "ArgMax" else -1))
    if x.layout != "flat" or axis not in (-1, 1) or attribute_of(node, "select_last_index", 0):
        raise walk.unsupported(
            node,
            f"works along axis {axis} of {x.dims}, only the outputs of a policy are carried "
            "over, the first of equals",
        )
    name = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "ArgMax": "argmax"}[node.op_type]
    return walk.add(node, Head(name), [x])  # type: ignore[arg-type] # one of the three


ARITHMETIC: Operators = {
    "Add": _add,
    "ArgMax": _head,
    "Clip": _clip,
    "Div": _div,
    "Elu": _activation,
    "LogSoftmax": _head,
    "Max": _min_max,
    "Min": _min_max,
    "Mul": _mul,
    "Neg": _neg,
    "ReduceLogSumExp": _log_sum_exp,
    "Relu": _activation,
    "Sigmoid": _activation,
    "Softmax": _head,
    "Sub": _sub,
    "Tanh": _activation,
}
