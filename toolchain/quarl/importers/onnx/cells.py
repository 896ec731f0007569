"""ONNX's recurrent operators: one step of an LSTM, a GRU or a plain cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import NodeProto

from quarl.importers.cells import Cell, Gate, Kind, Place, add_cell
from quarl.importers.onnx.states import CELL, CELLS, HIDDEN
from quarl.importers.onnx.values import NOTHING, Known, Value, attribute_of, is_given, name_of
from quarl.importers.onnx.walk import Operators, Walk

GATES: Mapping[str, tuple[Kind, str]] = {  # in the order of ONNX's weights; g is ONNX's c
    "LSTM": ("lstm", "iofg"),
    "GRU": ("gru", "zrn"),
    "RNN": ("rnn", "n"),
}
FUNCTIONS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
DEFAULTS = {"direction": "forward", "layout": 0, "input_forget": 0}


def _cell(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> tuple[Value, ...]:
    """Append one step; the state is what the graph carries, not what the operator is given."""
    inputs = [*inputs, *[NOTHING] * (8 - len(inputs))]
    _check_attributes(walk, node, inputs)
    kind, letters = GATES[node.op_type]
    weights, recurrent = (walk.weights(node, inputs[place], 3)[0] for place in (1, 2))
    hidden, length = recurrent.shape[1], weights.shape[1]
    x = walk.tensor(node, inputs[0])
    if x.layout != "flat" or x.order.size != length:
        raise walk.unsupported(
            node, f"is given {x.order.size} numbers, it takes {length}: one step at a time"
        )
    for number in (HIDDEN, CELL) if kind == "lstm" else (HIDDEN,):
        held = inputs[number]
        if not isinstance(held, Value) or not walk.is_state(held) or held.order.size != hidden:
            raise walk.unsupported(node, f"takes a state other than {hidden} numbers of an input")
    given = walk.weights(node, inputs[3])[0] if is_given(inputs[3]) else np.zeros(0)
    bias = (given if given.size else np.zeros(2 * len(letters) * hidden)).reshape(2, -1, hidden)
    gates = {
        letter: Gate(
            weights.reshape(-1, hidden, length)[turn],
            recurrent.reshape(-1, hidden, hidden)[turn],
            bias[0, turn],
            bias[1, turn],
        )
        for turn, letter in enumerate(letters)
    }
    after = bool(attribute_of(node, "linear_before_reset", 0))
    row = walk.settled(node, x, node.input[0])
    source = next(name for name in node.output if name)
    place = Place(name_of(node), source, walk.next_cell())
    made = add_cell(walk.builder, Cell(kind, gates, after), row.node, place)
    order = np.arange(hidden)
    shapes = ((1, 1, 1, hidden), (1, 1, hidden), (1, 1, hidden))
    names = (made[0], made[0], made[-1])
    return tuple(
        Value(name, "flat", (), order.reshape(shape), len(shape) - 2)
        for name, shape in zip(names, shapes, strict=True)
    )


def _check_attributes(walk: Walk, node: NodeProto, inputs: Sequence[Known]) -> None:
    for name, default in DEFAULTS.items():
        found = attribute_of(node, name, default)
        if found != default:
            raise walk.unsupported(node, f"has {name}={found!r}, carried over is {default!r}")
    names = [
        text.decode() if isinstance(text, bytes) else text
        for text in attribute_of(node, "activations", FUNCTIONS[node.op_type])
    ]
    if [name.lower() for name in names] != FUNCTIONS[node.op_type]:
        raise walk.unsupported(
            node,
            f"has the functions {', '.join(names)}, carried over are "
            f"{', '.join(FUNCTIONS[node.op_type])}",
        )
    if attribute_of(node, "clip", 0.0):
        raise walk.unsupported(node, "clips its sums")
    if isinstance(inputs[4], Value) or (
        is_given(inputs[7]) and np.any(walk.weights(node, inputs[7]))
    ):
        raise walk.unsupported(node, "has peepholes, or lengths that the network computes")


CELL_OPERATORS: Operators = dict.fromkeys(CELLS, _cell)
