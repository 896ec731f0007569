"""Recurrent cells as ordinary operations: what a GRU, an LSTM or a plain cell computes in one step.

In: weights by gate, float64, whatever order the framework keeps them in. Out: steps of a draft that
read the state, and those that make its next value.
A gate that keeps a state is written as what it takes away: c' = c - (1 - f) c + i g. So a gate that
is shut to the last bit keeps every bit of the state, also in integers. 1 - sigmoid(x) is
sigmoid(-x), so it costs no step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import INPUT, Activation, Add, Concat, Dense, Function, Mul, Node, Op
from quarl.graph.state import StateVector
from quarl.importers.draft import DraftBuilder

KEPT_LESS_ONE: Function = "neg(sigmoid(x))"  # of the negated sum: sigmoid - 1
Kind = Literal["lstm", "gru", "rnn"]


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """One gate's share of the weights, float64: inputs [hidden, in], state [hidden, hidden], and a
    bias [hidden] for each.
    """

    inputs: NDArray[np.float64]
    state: NDArray[np.float64]
    input_bias: NDArray[np.float64]
    state_bias: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's gates by letter: "ifgo" of an LSTM, "rzn" of a GRU, "n" of a plain cell.

    resets_after: whether a GRU's reset gate multiplies what the state was multiplied with (torch,
        ONNX with linear_before_reset, Keras with reset_after) or the state itself.
    """

    kind: Kind
    gates: Mapping[str, Gate]
    resets_after: bool = True

    @property
    def features(self) -> int:
        """Values that it reads beside the state."""
        return int(next(iter(self.gates.values())).inputs.shape[1])

    @property
    def length(self) -> int:
        """Values of the hidden vector."""
        return len(next(iter(self.gates.values())).state)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell stands in a file: what it is called, which cell of the network it is, and the
    hidden vector that it starts with; empty for zeros.
    """

    name: str
    source: str
    number: int
    initial: tuple[float, ...] = ()

    def state(self, letter: str, length: int) -> StateVector:
        """Return the cell's state of that letter."""
        name = letter if self.number == 1 else f"{letter}{self.number}"
        return StateVector(name, length, self.initial if letter == "h" else ())


def add_cell(builder: DraftBuilder, cell: Cell, x: str, place: Place) -> tuple[str, ...]:
    """Append one step of the cell that reads `x`; return the node of the next hidden vector and, of
    an LSTM, that of the next cell vector.
    """
    step = _Step(builder, cell, x, place)
    return {"lstm": step.lstm, "gru": step.gru, "rnn": step.rnn}[cell.kind]()


class _Step:
    """Appends the operations of one cell."""

    def __init__(self, builder: DraftBuilder, cell: Cell, x: str, place: Place) -> None:
        self.builder, self.cell, self.x, self.place = builder, cell, x, place
        self.h = place.state("h", cell.length)
        builder.add_state(self.h)

    def lstm(self) -> tuple[str, ...]:
        c = self.place.state("c", self.cell.length)
        self.builder.add_state(c)
        both = self.joined()
        i, g, o = (
            self.function(self.sum(name, both), name, function)
            for name, function in (("i", "sigmoid"), ("g", "tanh"), ("o", "sigmoid"))
        )
        lost = self.function(self.sum("f", both, -1), "f", KEPT_LESS_ONE)
        made = self.updated(c, lost, i, g)
        bounded = self.function(made, "c", "tanh")
        return self.closed(self.mul("h", o, bounded), self.h), made

    def gru(self) -> tuple[str, ...]:
        both = self.joined()
        reset = self.function(self.sum("r", both), "r", "sigmoid")
        taken = self.sum("z", both, -1)
        new, lost = self.function(taken, "z", "sigmoid"), self.function(taken, "z", KEPT_LESS_ONE)
        gate = self.cell.gates["n"]
        from_input = self.dense("n.x", self.x, gate.inputs, gate.input_bias)
        h = self.h.tensor_name
        if self.cell.resets_after:
            from_state = self.mul(
                "n.h", reset, self.dense("n.state", h, gate.state, gate.state_bias)
            )
        else:
            held = self.mul("reset", reset, h)
            from_state = self.dense("n.h", held, gate.state, gate.state_bias)
        total = self.add("n.sum", Add(), (from_input, from_state))
        return (self.updated(self.h, lost, new, self.function(total, "n", "tanh")),)

    def rnn(self) -> tuple[str, ...]:
        made = self.function(self.sum("n", self.joined()), "h", "tanh")
        return (self.closed(made, self.h),)

    def updated(self, state: StateVector, lost: str, gate: str, value: str) -> str:
        """Return state + lost * state + gate * value, which becomes the next state."""
        held = state.tensor_name
        kept = self.add("kept", Add(), (held, self.mul("lost", lost, held)))
        made = self.add("next", Add(), (kept, self.mul("new", gate, value)))
        return self.closed(made, state)

    def joined(self) -> str:
        return self.add("joined", Concat(), (self.x, self.h.tensor_name))

    def sum(self, letter: str, both: str, sign: int = 1) -> str:
        gate = self.cell.gates[letter]
        weights = np.concatenate([gate.inputs, gate.state], axis=1)
        bias = gate.input_bias + gate.state_bias
        return self.dense(f"{letter}.sum", both, sign * weights, sign * bias)

    def dense(
        self, name: str, source: str, weights: NDArray[np.float64], bias: NDArray[np.float64]
    ) -> str:
        op = Dense(weights.astype(np.float32), bias.astype(np.float32))
        return self.add(name, op, (source,))

    def function(self, source: str, name: str, function: Function) -> str:
        return self.add(name, Activation(function), (source,))

    def mul(self, name: str, a: str, b: str) -> str:
        return self.add(name, Mul(), (a, b))

    def add(
        self, name: str, op: Activation | Add | Concat | Dense | Mul, inputs: tuple[str, ...]
    ) -> str:
        return self.builder.add(f"{self.place.name}.{name}", op, inputs, self.place.source)

    def closed(self, made: str, state: StateVector) -> str:
        self.builder.close_state(made, state)
        return made


def add_cells(
    builder: DraftBuilder, cells: Sequence[Cell], x: str, name: str, first: int = 1
) -> str:
    """Append one step of cells that read one another, the first of them `x`, and return the node of
    the last hidden vector.

    Args:
        first: the number of the first cell in the network.
    """
    for number, cell in enumerate(cells, start=first):
        own = name if len(cells) == 1 else f"{name}.{number - first}"
        x = add_cell(builder, cell, x, Place(own, "", number))[0]
    return x


def cells_and_layers(
    path: Path, cells: Sequence[Cell], name: str, layers: Sequence[tuple[str, Op]]
) -> tuple[tuple[Node, ...], tuple[StateVector, ...], tuple[str, ...]]:
    """Return a policy of cells on the observation and layers behind them: its nodes, its states,
    and the nodes that make the next ones.

    Args:
        name: what the cells are called.
    """
    builder = DraftBuilder(path, (cells[0].features,))
    last = add_cells(builder, cells, INPUT, name)
    for layer, op in layers:
        last = builder.add(layer, op, [last], "")
    nodes = tuple(Node(n.name, cast(Op, n.op), n.inputs) for n in builder.nodes)
    closing = [(n.state, n.name) for n in builder.nodes if n.state is not None]
    return nodes, tuple(state for state, _ in closing), tuple(made for _, made in closing)
