"""Elementwise functions that a file writes as several steps: x * sigmoid(x), x / (1 + |x|).

In: two results of one vector, each reached by elementwise steps alone. Out: their formula in that
vector, which the graph carries as one activation (`quarl.graph.functions`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from quarl.graph.functions import (
    DEFINITIONS,
    MAX_DEPTH,
    MAX_TEXT,
    VARIABLE,
    Call,
    Expression,
    Function,
    activate,
    parse,
    substituted,
    text_of,
)
from quarl.graph.policy import Activation
from quarl.importers.draft import Affine, Clip, DraftNode, DraftOp

# what two functions must agree on to be one: near zero, in the middle, far out
POINTS = np.concatenate([np.linspace(-12, 12, 241), np.linspace(-200, 200, 81), [-1e-3, 1e-3]])
SAME_FUNCTION = 1e-6  # relative: constants in a file are float32


def joined_formula(
    nodes: Mapping[str, DraftNode], name: str, left: str, right: str
) -> tuple[str, Expression] | None:
    """Return the nearest step both results come from, and the formula of `name` applied to them;
    None where they have no such step.
    """
    rights = dict(_chain(nodes, right))
    for base, expression in _chain(nodes, left):
        if base in rights:
            formula = Call(name, (expression, rights[base]))
            text = text_of(formula)
            if len(text) > MAX_TEXT or text.count("(") > MAX_DEPTH:
                return None
            return base, formula
    return None


def elementwise_base(nodes: Mapping[str, DraftNode], name: str) -> tuple[str, Expression]:
    """Return the farthest step that a result is an elementwise function of, and that function."""
    found: tuple[str, Expression] = (name, VARIABLE)
    for found in _chain(nodes, name):
        if len(text_of(found[1])) > MAX_TEXT // 2:
            break
    return found


def recognized(formula: Expression) -> tuple[Function, float]:
    """Return the function and the factor before it: a name where the formula is that function up to
    a factor, else its own text and 1.
    """
    text = text_of(formula)
    values = activate(text, POINTS)
    if np.isfinite(values).all():
        for name in ("tanh", "sigmoid", "relu", "relu6", "elu", "softplus", *_without_numbers()):
            others = activate(name, POINTS)
            at = int(np.abs(others).argmax())
            factor = values[at] / others[at]
            limit = SAME_FUNCTION * np.abs(values).max()
            if factor > 0 and np.abs(values - factor * others).max() <= limit * 0.01:
                return name, float(factor)
    return text, 1.0


def function_of(op: DraftOp) -> Function | None:
    """Return the function that a step applies to every number alike, None where it does not."""
    match op:
        case Activation(function=function):
            return function
        case Clip(low=low, high=high):
            return clip_function(low, high)
        case Affine(scale=scale, offset=offset) if np.ptp(scale) == 0 and np.ptp(offset) == 0:
            return text_of(
                Call("add", (Call("mul", (VARIABLE, float(scale[0]))), float(offset[0])))
            )
    return None


def clip_function(low: float, high: float) -> Function:
    """Return the function that clips to bounds, of which one may be infinite."""
    if np.isinf(low):
        return text_of(Call("min", (VARIABLE, high)))
    if np.isinf(high):
        return text_of(Call("max", (VARIABLE, low)))
    return text_of(Call("clip", (VARIABLE, low, high)))


def _chain(nodes: Mapping[str, DraftNode], name: str) -> Iterator[tuple[str, Expression]]:
    """Yield each earlier result this one is an elementwise function of, itself first."""
    expression: Expression = VARIABLE
    yield name, expression
    while name in nodes:
        function = function_of(nodes[name].op)
        if function is None:
            return
        expression = substituted(expression, {VARIABLE: parse(function)})
        name = nodes[name].inputs[0]
        yield name, expression


def _without_numbers() -> Iterator[Function]:
    return (name for name, (numbers, _) in DEFINITIONS.items() if not numbers)
