"""Which inputs of an ONNX graph are the state of recurrent cells, and which outputs its next value.

In: a graph. Out: for each such input, the output that goes back into it. Both are followed through
operators that only move numbers, never by their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import GraphProto, NodeProto

from quarl.errors import UnsupportedError
from quarl.importers.onnx.file import OnnxFile
from quarl.importers.onnx.values import name_of

CELLS = ("GRU", "LSTM", "RNN")
HIDDEN, CELL = 5, 6  # the inputs of a cell that take a state
MOVING = {
    *("Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"),
    *("Transpose", "Unsqueeze"),
}
Spot = tuple[str, int]  # a cell's first output, and HIDDEN or CELL


@dataclass(frozen=True, slots=True)
class CarriedState:
    """An input that takes a state, the output that gives its next value, and its shape."""

    input: str
    output: str
    shape: tuple[int, ...]  # an open batch counts as 1

    @property
    def batch_axis(self) -> int:
        """The axis that counts observations: [layers, batch, hidden], [batch, hidden], [hidden]."""
        return {1: -1, 2: 0}.get(len(self.shape), 1)

    @property
    def node(self) -> str:
        """What stands for the input while the graph is walked."""
        return f"state input/{self.input}"


def carried_states(source: OnnxFile, outputs: Sequence[str]) -> tuple[CarriedState, ...]:
    """Return the states of the cells that these outputs depend on.

    Raises:
        UnsupportedError: a cell's state is no input, or its next value no output.
    """
    graph = source.graph
    makers = {name: node for node in graph.node for name in node.output if name}
    cells = [node for node in _needed(graph, outputs) if node.op_type in CELLS]
    wanted: dict[str, set[Spot]] = {}
    for cell in cells:
        for place in (HIDDEN, CELL) if cell.op_type == "LSTM" else (HIDDEN,):
            name = cell.input[place] if len(cell.input) > place else ""
            for origin in _input_origins(source, makers, cell, name):
                wanted.setdefault(origin, set()).add((_key(cell), place))
    given = {output.name: _output_origins(makers, output.name) for output in graph.output}
    found = []
    for entry in graph.input:
        if entry.name in wanted:
            output = next((o for o, spots in given.items() if spots == wanted[entry.name]), None)
            if output is None:
                raise UnsupportedError(
                    f"{source.path.name}: the recurrent state {entry.name!r} is an input, but its "
                    "next value is not an output: export the policy with the state as input and "
                    "output"
                )
            dims = entry.type.tensor_type.shape.dim
            shape = tuple(d.dim_value if d.dim_value > 0 else 1 for d in dims)
            found.append(CarriedState(entry.name, output, shape))
    return tuple(found)


def is_next_state(source: OnnxFile, output: str) -> bool:
    """Whether an output is made of the next states of recurrent cells alone, and not of their
    results over time, which a policy may end in.
    """
    makers = {name: node for node in source.graph.node for name in node.output if name}
    return any(place > 0 for _, place in _moved_from(makers, output))


def _needed(graph: GraphProto, outputs: Sequence[str]) -> list[NodeProto]:
    names, found = set(outputs), []
    for node in reversed(graph.node):
        if names.intersection(node.output):
            names.update(node.input)
            found.append(node)
    return found[::-1]


def _input_origins(
    source: OnnxFile, makers: dict[str, NodeProto], cell: NodeProto, name: str
) -> set[str]:
    """Return the graph's inputs that a cell's state comes from."""
    origins, pending = set(), [name]
    entries = {entry.name for entry in source.graph.input} - set(source.initializers)
    while pending:
        name = pending.pop()
        if name in entries:
            origins.add(name)
        elif name in makers and makers[name].op_type in MOVING:
            pending += _moved(makers[name])
    if not origins:
        raise UnsupportedError(
            f"{source.path.name}: {cell.op_type} (node {name_of(cell)!r}) begins each step with a "
            "state that is no input, so nothing is remembered: export the policy with the "
            "recurrent state as input and output"
        )
    return origins


def _output_origins(makers: dict[str, NodeProto], name: str) -> set[Spot]:
    """Return the states of cells that an output is made of; empty where it is made of more."""
    return {
        (_key(cell), CELL if place == 2 else HIDDEN) for cell, place in _moved_from(makers, name)
    }


def _moved_from(makers: dict[str, NodeProto], name: str) -> list[tuple[NodeProto, int]]:
    """Return the cells' results that a tensor is made of by moving numbers, none where by more."""
    cells: list[tuple[NodeProto, int]] = []
    pending = [name]
    while pending:
        name = pending.pop()
        node = makers.get(name)
        if node is None or (node.op_type not in CELLS and node.op_type not in MOVING):
            return []
        if node.op_type in CELLS:
            cells.append((node, list(node.output).index(name)))
        else:
            pending += _moved(node)
    return cells


def _moved(node: NodeProto) -> list[str]:
    return list(node.input) if node.op_type == "Concat" else list(node.input[:1])


def _key(cell: NodeProto) -> str:
    return str(next(name for name in cell.output if name))
