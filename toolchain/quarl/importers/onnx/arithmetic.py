"""ONNX operators that compute each number by itself, and those that end a policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast

import numpy as np
from onnx import NodeProto

from quarl.graph.functions import VARIABLE, Call, Expression, text_of
from quarl.graph.policy import Activation, Add, Mul
from quarl.importers.draft import RELU, Clip, Head
from quarl.importers.formulas import elementwise_base, joined_formula, recognized
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

ONE, ZERO = np.ones(()), np.zeros(())
SELU = (1.6732632423543772, 1.0507009873554805)
UNARY: Mapping[str, str] = {
    "Abs": "abs",
    "Cos": "cos",
    "Erf": "erf",
    "Exp": "exp",
    "HardSwish": "hardswish",
    "Log": "log",
    "Mish": "mish",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Sign": "sign",
    "Sin": "sin",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Sqrt": "sqrt",
    "Tanh": "tanh",
}
# operators with numbers of their own: attributes and their defaults
NUMBERED: Mapping[str, tuple[str, tuple[tuple[str, float], ...]]] = {
    "Celu": ("celu", (("alpha", 1.0),)),
    "Elu": ("elu", (("alpha", 1.0),)),
    "HardSigmoid": ("hardsigmoid", (("alpha", 0.2), ("beta", 0.5))),
    "LeakyRelu": ("leaky_relu", (("alpha", 0.01),)),
}
BINARY: Mapping[str, str] = {
    "Add": "add",
    "Div": "div",
    "Max": "max",
    "Min": "min",
    "Mul": "mul",
    "Pow": "pow",
    "Sub": "sub",
}


def _unary(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    if node.op_type in NUMBERED:
        name, attributes = NUMBERED[node.op_type]
        numbers = [float(attribute_of(node, key, default)) for key, default in attributes]
        is_plain = node.op_type == "Elu" and numbers == [1.0]
        function = text_of(Call(name, (VARIABLE, *([] if is_plain else numbers))))
        return _function(walk, node, inputs[0], "elu" if is_plain else function)
    return _function(walk, node, inputs[0], UNARY[node.op_type])


def _function(walk: Walk, node: NodeProto, value: Known, function: str) -> Value:
    """Append an elementwise function of a layer's output."""
    x = walk.tensor(node, value)
    if x.layout == "flat":
        x = walk.whole(node, x)
    return walk.add(node, Activation(function), [x])


def _gelu(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    is_tanh = attribute_of(node, "approximate", "none") == "tanh"
    return _function(walk, node, inputs[0], "gelu_tanh" if is_tanh else "gelu")


def _selu(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    alpha, gamma = (
        float(attribute_of(node, name, default))
        for name, default in zip(("alpha", "gamma"), SELU, strict=True)
    )
    if np.allclose((alpha, gamma), SELU, rtol=1e-6):
        return _function(walk, node, inputs[0], "selu")
    return _function(walk, node, inputs[0], f"mul({gamma!r},elu(x,{alpha!r}))")


def _prelu(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    """One slope is a leaky ReLU; a slope per channel is relu(x) - slope * relu(-x)."""
    slope = walk.weights(node, inputs[1])
    if slope.size == 1:
        text = text_of(Call("leaky_relu", (VARIABLE, float(slope.reshape(())))))
        return _function(walk, node, inputs[0], text)
    x = walk.tensor(node, inputs[0])
    up = _function(walk, node, x, "relu")
    down = walk.scaled(
        node, _function(walk, node, walk.scaled(node, x, -ONE, ZERO), "relu"), -slope, ZERO
    )
    return walk.add(node, Add(), [up, down])


def _reciprocal(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    return _function(walk, node, inputs[0], "div(1,x)")


def _binary(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    """Two results of one step are a function of it; else a sum or a difference is carried over."""
    left, right = (value for value in inputs)
    if not isinstance(left, Value) or not isinstance(right, Value):
        return WITH_CONSTANT[node.op_type](walk, node, inputs)
    if right.layout == LOG_SUM and right.node == left.node and node.op_type == "Sub":
        return walk.add(node, Head("log_softmax"), [left])
    left, right = walk.tensor(node, left), walk.tensor(node, right)
    formula = _joined(walk, node, left, right)
    if formula is not None:
        return formula
    if node.op_type in ("Mul", "Div"):
        return _product(walk, node, left, right)
    if node.op_type not in ("Add", "Sub"):
        raise walk.unsupported(
            node,
            "of two layers' outputs cannot be carried over, with a constant, or of one layer's "
            "output with itself, it can",
        )
    left, right = _matching(walk, node, left, right)
    if node.op_type == "Sub":
        right = walk.scaled(node, right, -ONE, ZERO)
    return walk.add(node, Add(), [left, right])


def _product(walk: Walk, node: NodeProto, left: Value, right: Value) -> Value:
    """Return the product of two layers' outputs; a quotient is a product with the inverse, which is
    one function of what the divisor is made of.
    """
    if node.op_type == "Div":
        nodes = {other.name: other for other in walk.builder.nodes}
        base, expression = elementwise_base(nodes, right.node)
        start = Value(base, right.layout, right.dims, right.order, right.batch)
        inverse = Activation(text_of(Call("div", (1.0, expression))))
        right = walk.add(node, inverse, [start], ".inverse")
    left, right = _matching(walk, node, left, right)
    return walk.add(node, Mul(), [left, right])


def _joined(walk: Walk, node: NodeProto, left: Value, right: Value) -> Value | None:
    """Return the function of one step that an operator makes of two of its results."""
    if left.layout != right.layout or not np.array_equal(left.order, right.order):
        return None
    nodes = {other.name: other for other in walk.builder.nodes}
    found = joined_formula(nodes, BINARY[node.op_type], left.node, right.node)
    if found is None:
        return None
    base, expression = found
    function, factor = recognized(expression)
    start = Value(base, left.layout, left.dims, left.order, left.batch)
    result = walk.add(node, Activation(function), [start])
    return result if factor == 1 else walk.scaled(node, result, np.array(factor), ZERO)


def _matching(walk: Walk, node: NodeProto, left: Value, right: Value) -> tuple[Value, Value]:
    """Return two tensors of one shape in one order of places."""
    if left.layout != "flat" and left.layout == right.layout and left.dims == right.dims:
        return left, right
    left, right = walk.flat(node, left), walk.flat(node, right)
    left = walk.spread(node, left, right.order.shape)
    right = walk.spread(node, right, left.order.shape)
    if left.order.shape != right.order.shape:
        raise walk.unsupported(
            node, f"joins shapes {list(left.order.shape)} and {list(right.order.shape)}"
        )
    if np.array_equal(left.order, right.order):
        left, right = walk.whole(node, left), walk.whole(node, right)
        if np.array_equal(left.order, right.order):
            return left, right
    return walk.settled(node, left, "", ".left"), walk.settled(node, right, "", ".right")


def _add(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x, constant = _parted(inputs)
    return walk.scaled(node, walk.tensor(node, x), ONE, walk.weights(node, constant))


def _sub(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x, constant = _parted(inputs)
    value = walk.weights(node, constant)
    if x is inputs[0]:
        return walk.scaled(node, walk.tensor(node, x), ONE, -value)
    return walk.scaled(node, walk.tensor(node, x), -ONE, value)


def _mul(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x, constant = _parted(inputs)
    return walk.scaled(node, walk.tensor(node, x), walk.weights(node, constant), ZERO)


def _div(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x, constant = _parted(inputs)
    value = walk.weights(node, constant)
    if x is not inputs[0]:
        if value.size != 1:
            raise walk.unsupported(node, "divides several constants by a layer's output")
        return _function(walk, node, x, text_of(Call("div", (float(value.reshape(())), VARIABLE))))
    if not value.all():
        raise walk.unsupported(node, "divides by zero")
    return walk.scaled(node, walk.tensor(node, x), 1 / value, ZERO)


def _pow(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x, constant = _parted(inputs)
    value = walk.weights(node, constant)
    if value.size != 1:
        raise walk.unsupported(node, "has several exponents, one is carried over")
    number = float(value.reshape(()))
    parts: tuple[Expression, ...] = (VARIABLE, number) if x is inputs[0] else (number, VARIABLE)
    text = "mul(x,x)" if parts == (VARIABLE, 2.0) else text_of(Call("pow", parts))
    return _function(walk, node, x, text)


def _parted(inputs: Sequence[Known]) -> tuple[Known, Known]:
    """Return the layer's output and the constant, in that order."""
    left, right = inputs
    return (left, right) if isinstance(left, Value) else (right, left)


def _neg(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    return walk.scaled(node, walk.tensor(node, inputs[0]), -ONE, ZERO)


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
    x, constant = _parted(inputs)
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
    if x.layout == "flat":
        x = walk.whole(node, x)
    return walk.add(
        node, Activation(RELU[low, high]) if (low, high) in RELU else Clip(low, high), [x]
    )


def _log_sum_exp(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    if not x.is_row or axes_of(node, inputs, 2) != [1] or not attribute_of(node, "keepdims", 1):
        raise walk.unsupported(node, "is carried over only as part of a softmax")
    return Value(x.node, LOG_SUM, (), x.order)


def _head(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> Value:
    x = walk.tensor(node, inputs[0])
    axis = int(attribute_of(node, "axis", 0 if node.op_type == "ArgMax" else -1))
    is_last = x.layout == "flat" and x.order.size == x.order.shape[-1]
    if (
        not is_last
        or axis not in (-1, x.order.ndim - 1)
        or attribute_of(node, "select_last_index", 0)
    ):
        raise walk.unsupported(
            node,
            f"works along axis {axis} of {list(x.shape[1:])}, only the outputs of a policy are "
            "carried over, the first of equals",
        )
    names = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "ArgMax": "argmax"}
    function = cast(Literal["softmax", "log_softmax", "argmax"], names[node.op_type])
    return walk.add(node, Head(function), [walk.settled(node, x, node.input[0])])


WITH_CONSTANT: Mapping[str, Callable[[Walk, NodeProto, Sequence[Known]], Value]] = {
    "Add": _add,
    "Div": _div,
    "Max": _min_max,
    "Min": _min_max,
    "Mul": _mul,
    "Pow": _pow,
    "Sub": _sub,
}
ARITHMETIC: Operators = {
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(NUMBERED, _unary),
    **dict.fromkeys(BINARY, _binary),
    "ArgMax": _head,
    "Clip": _clip,
    "Gelu": _gelu,
    "LogSoftmax": _head,
    "Neg": _neg,
    "PRelu": _prelu,
    "Reciprocal": _reciprocal,
    "ReduceLogSumExp": _log_sum_exp,
    "Selu": _selu,
    "Softmax": _head,
}
