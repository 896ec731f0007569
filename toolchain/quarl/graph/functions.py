"""Elementwise functions: a name, a name with numbers, or a formula of one variable.

In: text such as "tanh", "leaky_relu(0.01)" or "mul(x,sigmoid(x))". Out: its tree, and its values.
An elementwise function costs int8 nothing whatever it is: 256 inputs are a table of 256 entries. So
one grammar serves all of them, and a new one is a line in `DEFINITIONS`. The text is data: it is
parsed and never run.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.errors import UnsupportedError

Function: TypeAlias = str
VARIABLE = "x"
MAX_TEXT = 2_000  # characters
MAX_DEPTH = 40


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the grammar and what it is applied to."""

    name: str
    arguments: tuple[Expression, ...]


Expression: TypeAlias = Call | float | str  # a call, a number, the variable or a parameter


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    half = x.dtype.type(0.5)
    result: NDArray[Any] = half * np.tanh(x * half) + half
    return result


def _elu(x: NDArray[Any]) -> NDArray[Any]:
    return np.where(x > 0, x, np.expm1(np.minimum(x, x.dtype.type(0))))


def _erf(x: NDArray[Any]) -> NDArray[Any]:
    from scipy.special import erf

    result: NDArray[Any] = erf(x)
    return result


Primitive: TypeAlias = Callable[..., NDArray[Any]]
UNARY: Mapping[str, Primitive] = {
    "relu": lambda x: np.maximum(x, x.dtype.type(0)),
    "relu6": lambda x: np.clip(x, x.dtype.type(0), x.dtype.type(6)),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "elu": _elu,
    "abs": np.abs,
    "cos": np.cos,
    "erf": _erf,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "neg": np.negative,
    "sign": np.sign,
    "sin": np.sin,
    "softplus": lambda x: np.logaddexp(x, x.dtype.type(0)),
    "sqrt": np.sqrt,
}
BINARY: Mapping[str, Primitive] = {
    "add": np.add,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "pow": np.power,
    "sub": np.subtract,
}
DEFINITIONS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "celu": (("a",), "add(max(x,0),mul(a,expm1(div(min(x,0),a))))"),
    "clip": (("low", "high"), "min(max(x,low),high)"),
    "elu": (("a",), "add(max(x,0),mul(a,expm1(min(x,0))))"),
    "gelu": ((), "mul(mul(x,0.5),add(1,erf(mul(x,0.7071067811865476))))"),
    "gelu_tanh": (
        (),
        "mul(mul(x,0.5),add(1,tanh(mul(0.7978845608028654,add(x,mul(0.044715,mul(x,mul(x,x))))))))",
    ),
    "hardsigmoid": (("a", "b"), "min(max(add(mul(x,a),b),0),1)"),
    "hardswish": ((), "div(mul(x,relu6(add(x,3))),6)"),
    "leaky_relu": (("a",), "add(max(x,0),mul(a,min(x,0)))"),
    "mish": ((), "mul(x,tanh(softplus(x)))"),
    "selu": (
        (),
        "mul(1.0507009873554805,add(max(x,0),mul(1.6732632423543772,expm1(min(x,0)))))",
    ),
    "silu": ((), "mul(x,sigmoid(x))"),
    "softsign": ((), "div(x,add(1,abs(x)))"),
}
NAMES = tuple(sorted((*UNARY, *DEFINITIONS)))  # that need no formula


@lru_cache(maxsize=256)
def parse(function: Function) -> Expression:
    """Return the tree of a function: calls of `UNARY`, `BINARY` and `DEFINITIONS`.

    A bare name stands for that function of x; a definition's numbers follow its name, and where x
    is not given as its first argument, it is x: "leaky_relu(0.01)".

    Raises:
        UnsupportedError: it is not a function of the grammar.
    """
    try:
        if not isinstance(function, str) or len(function) > MAX_TEXT:
            raise ValueError("too long, or not text")
        tree = ast.parse(function, mode="eval").body
        if isinstance(tree, ast.Name) and tree.id != VARIABLE:
            tree = ast.Call(tree, [], [])
        if isinstance(tree, ast.Call) and not _mentions_variable(tree):
            tree.args.insert(0, ast.Name(VARIABLE, ast.Load()))
        if not _mentions_variable(tree):
            raise ValueError("it does not depend on x")
        return _expression(tree, (VARIABLE,), 0)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise UnsupportedError(
            f"the function {str(function)[:80]!r} is not known ({error}): one of "
            f"{', '.join(NAMES)} is, or a formula of them"
        ) from error


def expanded(expression: Expression) -> Expression:
    """Return the same function in primitives alone."""
    if not isinstance(expression, Call):
        return expression
    arguments = tuple(expanded(argument) for argument in expression.arguments)
    call = Call(expression.name, arguments)
    formula = defined(call)
    return call if formula is None else expanded(formula)


def defined(call: Call, more: Mapping[str, str] = MappingProxyType({})) -> Expression | None:
    """Return the formula that a call stands for, None for a primitive.

    Args:
        more: formulas of x for primitives that a target lacks.
    """
    names: tuple[str, ...] = ()
    text = more.get(call.name, "")
    if _is_definition(call.name, len(call.arguments)):
        names, text = DEFINITIONS[call.name]
    if not text:
        return None
    tree = _expression(ast.parse(text, mode="eval").body, (VARIABLE, *names), 0)
    return substituted(tree, dict(zip((VARIABLE, *names), call.arguments, strict=True)))


def substituted(expression: Expression, values: Mapping[str, Expression]) -> Expression:
    """Return the expression with others in place of its variables."""
    if isinstance(expression, str):
        return values.get(expression, expression)
    if isinstance(expression, Call):
        arguments = tuple(substituted(argument, values) for argument in expression.arguments)
        return Call(expression.name, arguments)
    return expression


def text_of(expression: Expression) -> Function:
    """Return the text that `parse` reads back."""
    if isinstance(expression, Call):
        return f"{expression.name}({','.join(text_of(part) for part in expression.arguments)})"
    return expression if isinstance(expression, str) else f"{expression!r}".removesuffix(".0")


def activate(function: Function, x: NDArray[Any]) -> NDArray[Any]:
    """Return the elementwise function of x, in x's float type."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return np.asarray(evaluate(_tree(function), x), x.dtype)


def evaluate(expression: Expression, x: NDArray[Any]) -> NDArray[Any]:
    """Return the values of a tree of primitives, in x's float type."""
    if isinstance(expression, str):
        return x
    if not isinstance(expression, Call):
        return np.asarray(expression, x.dtype)
    arguments = [evaluate(argument, x) for argument in expression.arguments]
    return (UNARY.get(expression.name) or BINARY[expression.name])(*arguments)


@lru_cache(maxsize=256)
def _tree(function: Function) -> Expression:
    return expanded(parse(function))


def _is_definition(name: str, count: int) -> bool:
    return name in DEFINITIONS and count == 1 + len(DEFINITIONS[name][0])


def _check_count(name: str, count: int) -> None:
    is_primitive = (count == 1 and name in UNARY) or (count == 2 and name in BINARY)
    if not is_primitive and not _is_definition(name, count):
        raise ValueError(f"{name} of {count} arguments is unknown")


def _mentions_variable(tree: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == VARIABLE for node in ast.walk(tree))


def _expression(tree: ast.expr, variables: tuple[str, ...], depth: int) -> Expression:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    match tree:
        case ast.Name(id=name) if name in variables:
            return name
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -float(value)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            _check_count(name, len(arguments))
            return Call(name, tuple(_expression(part, variables, depth + 1) for part in arguments))
    raise ValueError("it holds more than names, numbers and calls")
