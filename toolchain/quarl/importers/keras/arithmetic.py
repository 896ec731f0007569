"""Keras layers and operations that compute each number by itself, of one tensor or of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from quarl.graph.functions import VARIABLE, Call, Function, text_of
from quarl.graph.policy import Activation, Add
from quarl.importers.draft import RELU, Clip, affine, selection
from quarl.importers.formulas import joined_formula, recognized
from quarl.importers.keras.description import LayerSpec, Slice
from quarl.importers.keras.walk import Operand, Pairs, Walk

OPERATORS: Mapping[str, str] = {
    "Add": "add",
    "Divide": "div",
    "Maximum": "max",
    "Minimum": "min",
    "Multiply": "mul",
    "Power": "pow",
    "Subtract": "sub",
    "TrueDivide": "div",
}
UNARY: Mapping[str, Function] = {  # operations without settings
    **{name: name.lower() for name in ("Exp", "Log", "Mish", "Selu", "Sigmoid", "Silu", "Sin")},
    **{name: name.lower() for name in ("Cos", "Relu", "Relu6", "Softplus", "Softsign", "Sqrt")},
    **{name: name.lower() for name in ("Sign", "Tanh", "Erf")},
    "Abs": "abs",
    "Absolute": "abs",
    "HardSilu": "hardswish",
    "HardTanh": "clip(-1,1)",
    "Negative": "neg",
    "Reciprocal": "div(1,x)",
    "Square": "mul(x,x)",
}


def combine(walk: Walk, layer: LayerSpec, inputs: Sequence[Operand]) -> str:
    """Return the sum, difference, product ... of tensors or of a tensor and a constant."""
    tensors = [value for value in inputs if isinstance(value, str)]
    if len(tensors) == len(inputs) > 2 and layer.kind == "Add":
        total = tensors[0]
        for number, value in enumerate(tensors[1:]):
            total = _pair(walk, layer, total, value, f".{number}" if number else "")
        return total
    if len(inputs) != 2 or not tensors:
        raise walk.unsupported(layer, f"takes {len(inputs)} tensors, two are carried over")
    if len(tensors) == 2:
        return _pair(walk, layer, tensors[0], tensors[1], "")
    constant = next(value for value in inputs if not isinstance(value, str))
    assert not isinstance(constant, Slice)
    return _with_constant(
        walk, layer, tensors[0], constant, is_reversed=not isinstance(inputs[0], str)
    )


def _pair(walk: Walk, layer: LayerSpec, left: str, right: str, suffix: str) -> str:
    """Return an operation of two tensors: a function of one they both come from, or a sum."""
    nodes = {node.name: node for node in walk.builder.nodes}
    found = joined_formula(nodes, OPERATORS[layer.kind], left, right)
    if found is not None:
        base, expression = found
        function, factor = recognized(expression)
        result = walk.add(layer, Activation(function), [base], suffix)
        if factor == 1:
            return result
        return walk.add(
            layer, affine(factor, 0, walk.builder.shapes[base][-1]), [result], f"{suffix}.factor"
        )
    if layer.kind not in ("Add", "Subtract"):
        raise walk.unsupported(
            layer,
            "of two layers' outputs cannot be carried over; with a constant, or of one layer's "
            "output with itself, it can",
        )
    left, right = _spread(walk, layer, left, right), _spread(walk, layer, right, left)
    if layer.kind == "Subtract":
        count = walk.builder.shapes[right][-1]
        right = walk.add(layer, affine(-1, 0, count), [right], f"{suffix}.negative")
    return walk.add(layer, Add(), [left, right], suffix)


def _spread(walk: Walk, layer: LayerSpec, value: str, beside: str) -> str:
    """Return a tensor of one number repeated as often as the other tensor has numbers."""
    count = walk.builder.shapes[beside]
    if walk.builder.shapes[value] != (1,) or len(count) != 1 or count == (1,):
        return value
    step = selection(np.zeros(count[0], np.int64), 1)
    return walk.builder.add(f"{layer.name}.spread", step, [value], "")


def _with_constant(
    walk: Walk, layer: LayerSpec, tensor: str, constant: NDArray[np.float64], *, is_reversed: bool
) -> str:
    channels = walk.builder.shapes[tensor][-1]
    if constant.size != 1 and not constant.size == channels == constant.shape[-1]:
        raise walk.unsupported(
            layer,
            f"has a constant of shape {constant.shape}, carried over is one value or one "
            f"per channel ({channels})",
        )
    flat = constant.reshape(-1)
    kind = OPERATORS[layer.kind]
    if kind in ("max", "min", "pow") or (kind == "div" and is_reversed):
        return _one_number(walk, layer, tensor, flat, is_reversed=is_reversed)
    if kind == "div" and not flat.all():
        raise walk.unsupported(layer, "divides by zero")
    with np.errstate(divide="ignore"):
        step = {
            "add": affine(1, flat, channels),
            "sub": affine(-1, flat, channels) if is_reversed else affine(1, -flat, channels),
            "mul": affine(flat, 0, channels),
            "div": affine(1 / flat, 0, channels),
        }[kind]
    return walk.add(layer, step, [tensor])


def _one_number(
    walk: Walk, layer: LayerSpec, tensor: str, flat: NDArray[np.float64], *, is_reversed: bool
) -> str:
    if flat.size != 1:
        raise walk.unsupported(layer, "has several constants, one number is carried over")
    number, kind = float(flat[0]), OPERATORS[layer.kind]
    if kind in ("max", "min"):
        return clip(
            walk, layer, tensor, *((number, np.inf) if kind == "max" else (-np.inf, number))
        )
    parts = (number, VARIABLE) if is_reversed else (VARIABLE, number)
    text = "mul(x,x)" if parts == (VARIABLE, 2.0) else text_of(Call(kind, parts))
    return walk.add(layer, Activation(text), [tensor])


def clip(walk: Walk, layer: LayerSpec, tensor: str, low: float, high: float) -> str:
    """Append a clip; the one at zero is a ReLU."""
    if (low, high) == (-np.inf, np.inf):
        return tensor
    op = Activation(RELU[low, high]) if (low, high) in RELU else Clip(low, high)
    return walk.add(layer, op, [tensor])


def get_item(walk: Walk, layer: LayerSpec, inputs: Sequence[Operand]) -> str:
    """Append a slice of a vector's features: x[:, 2:5]."""
    tensor, *parts = inputs
    shape = walk.shape(tensor) if isinstance(tensor, str) else ()
    is_plain = len(parts) == 2 and all(isinstance(part, Slice) for part in parts)
    if not is_plain or len(shape) != 1 or parts[0] != Slice(None, None, None):
        raise walk.unsupported(
            layer, "is carried over only for slices of features that keep the axis, x[:, 2:5]"
        )
    assert isinstance(tensor, str)
    assert isinstance(parts[1], Slice)
    cut = slice(parts[1].start, parts[1].stop, parts[1].step)
    return walk.add(layer, selection(np.arange(shape[0])[cut], shape[0]), [tensor])


PAIRS: Pairs = {**dict.fromkeys(OPERATORS, combine), "GetItem": get_item}
