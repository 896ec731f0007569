"""Elementwise functions as operators of a full-precision `.tflite`.

In: a function of the graph. Out: LiteRT's own operator where there is one, else those of its
formula.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]

from quarl.emitters.tflite_file import TfliteFile
from quarl.emitters.tflite_layers import OPS, Value
from quarl.errors import UnsupportedError
from quarl.graph.functions import Call, Expression, Function, defined, parse

OPERATORS = {
    "relu": (OPS.RELU, None),
    "relu6": (OPS.RELU6, None),
    "tanh": (OPS.TANH, None),
    "sigmoid": (OPS.LOGISTIC, None),
    "elu": (OPS.ELU, None),
    "abs": (OPS.ABS, schema.AbsOptionsT),
    "cos": (OPS.COS, schema.CosOptionsT),
    "exp": (OPS.EXP, schema.ExpOptionsT),
    "gelu": (OPS.GELU, schema.GeluOptionsT),
    "log": (OPS.LOG, None),
    "neg": (OPS.NEG, schema.NegOptionsT),
    "sign": (OPS.SIGN, schema.SignOptionsT),
    "sin": (OPS.SIN, None),
    "sqrt": (OPS.SQRT, None),
    "add": (OPS.ADD, schema.AddOptionsT),
    "div": (OPS.DIV, schema.DivOptionsT),
    "max": (OPS.MAXIMUM, schema.MaximumMinimumOptionsT),
    "min": (OPS.MINIMUM, schema.MaximumMinimumOptionsT),
    "mul": (OPS.MUL, schema.MulOptionsT),
    "pow": (OPS.POW, schema.PowOptionsT),
    "sub": (OPS.SUB, schema.SubOptionsT),
}
FORMULAS = {  # of primitives that LiteRT has not
    "expm1": "sub(exp(x),1)",
    "softplus": "add(max(x,0),log(add(1,exp(neg(abs(x))))))",
}


def add_function(file: TfliteFile, function: Function, x: Value, output: Value, name: str) -> Value:
    """Append the operators of an elementwise function.

    Raises:
        UnsupportedError: LiteRT has no operator for a part of it; named.
    """
    _add(file, parse(function), x, output, name)
    return output


def _add(file: TfliteFile, expression: Expression, x: Value, output: Value, name: str) -> None:
    assert isinstance(expression, Call)
    number = len(expression.arguments)
    is_own = expression.name in OPERATORS and (expression.name != "elu" or number == 1)
    if not is_own:
        formula = defined(expression, FORMULAS)
        if formula is None:
            raise UnsupportedError(
                f"{name}: LiteRT has no operator for {expression.name}: write the function "
                "without it"
            )
        _add(file, formula, x, output, name)
        return
    parts = []
    for place, part in enumerate(expression.arguments):
        if isinstance(part, Call):
            tensor = file.activation(f"{name}/{place}", x.shape, np.float32)
            _add(file, part, x, replace(output, index=tensor), f"{name}/{place}")
            parts.append(tensor)
        elif isinstance(part, str):
            parts.append(x.index)
        else:
            parts.append(file.constant(f"{name}/number", np.array([part], np.float32)))
    code, options = OPERATORS[expression.name]
    file.operator(code, 1, parts, output.index, *([] if options is None else [options()]))
