"""The policy: a small graph of layers with float32 parameters, free of any framework, and its
contract.

In: what an importer read. Out: a frozen value with a NumPy reference, on which everything after
stands. Its operations: `quarl.graph.ops`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.graph.contract import Contract
from quarl.graph.float_ops import apply_op, im2col, max_pool, windows_of
from quarl.graph.functions import Function, activate
from quarl.graph.op_shapes import check_parameters, is_name, output_shape
from quarl.graph.ops import (
    INPUT,
    Activation,
    Add,
    Columns,
    Concat,
    Conv2D,
    Copying,
    Dense,
    DepthwiseConv2D,
    Flatten,
    MaxPool2D,
    Mul,
    Node,
    Op,
    Padding,
    Weighted,
)
from quarl.graph.rows import join_rows, split_rows, state_parts
from quarl.graph.state import STATE

__all__ = [
    "INPUT",
    "Activation",
    "Add",
    "Columns",
    "Concat",
    "Conv2D",
    "Copying",
    "Dense",
    "DepthwiseConv2D",
    "Flatten",
    "Function",
    "MaxPool2D",
    "Mul",
    "Node",
    "Op",
    "Padding",
    "Policy",
    "Weighted",
    "activate",
    "apply_op",
    "check_graph",
    "check_next_state",
    "im2col",
    "input_shapes",
    "linear_chain",
    "max_pool",
    "node_shapes",
    "output_shape",
    "run_graph",
    "windows_of",
]


PICTURES = 64  # whose patches are in memory at once


@dataclass(frozen=True, slots=True)
class Policy:
    """A trained policy: nodes in topological order (the last one is the output), contract and
    origin.

    The graph's input is the observation after the normaliser, or pixels divided by 255.
    """

    nodes: tuple[Node, ...]
    contract: Contract
    algorithm: str
    framework: str
    source_sha256: str
    next_state: tuple[str, ...] = ()  # the node that makes the next value of each state

    def __post_init__(self) -> None:
        check_graph(self)

    def __repr__(self) -> str:
        """Return its size: weights are not for the eye."""
        return f"Policy({len(self.nodes)} nodes, {self.parameter_count:,} parameters)"

    @property
    def parameter_count(self) -> int:
        """Number of trained numbers."""
        return sum(
            node.op.weights.size + node.op.bias.size
            for node in self.nodes
            if isinstance(node.op, Weighted)
        )

    def graph_input(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Return float32 [n, *graph_shape]: what the first layer sees, from rows
        (`quarl.graph.rows`) in environment units.
        """
        observation = self.contract.observation
        values = observation.to_graph(split_rows(self.contract, rows)[0])
        if observation.is_image:
            return values.astype(np.float32) / np.float32(255)
        if observation.normalizer is not None:
            return observation.normalizer.apply(values).astype(np.float32)
        return values.astype(np.float32)

    def step_input(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Return what a float artifact takes for rows: the graph's input, and of a recurrent policy
        the states behind it.
        """
        values = self.graph_input(rows)
        if not self.contract.state:
            return values
        return join_rows(values, split_rows(self.contract, rows)[1])

    def outputs(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Return the network's outputs float32 [n, count] for rows (`quarl.graph.rows`) in
        environment units.
        """
        return self.step(rows)[0]

    def step(self, rows: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the outputs float32 [n, count], and the next states float32 [n, values]."""
        if self.contract.observation.pictures and len(rows) > PICTURES:
            parts = [self.step(rows[at : at + PICTURES]) for at in range(0, len(rows), PICTURES)]
            outputs, nexts = zip(*parts, strict=True)
            return np.concatenate(outputs), np.concatenate(nexts)
        state = split_rows(self.contract, rows)[1]
        results = run_graph(self.nodes, self.graph_input(rows), state_parts(self.contract, state))
        return results[self.nodes[-1].name], self.next_of(results, len(rows))

    def next_of(self, results: Mapping[str, NDArray[Any]], count: int) -> NDArray[Any]:
        """Return the next states [count, values] among the results of a graph's nodes."""
        parts = [results[name] for name in self.next_state]
        return np.concatenate(parts, axis=-1) if parts else np.zeros((count, 0), np.float32)

    def act(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the deterministic actions for rows (`quarl.graph.rows`) in environment units."""
        return self.contract.action.decode(self.outputs(rows))


def linear_chain(layers: list[tuple[str, Op]]) -> tuple[Node, ...]:
    """Return nodes for layers that follow one another, from `INPUT`."""
    names = [INPUT, *(name for name, _ in layers)]
    return tuple(
        Node(name, op, (before,)) for (name, op), before in zip(layers, names, strict=False)
    )


def run_graph(
    nodes: tuple[Node, ...],
    graph_input: NDArray[np.floating[Any]],
    state: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> Mapping[str, NDArray[Any]]:
    """Return every node's value by name, `INPUT` included, in the float type of `graph_input` [n,
    ...].

    Args:
        state: [n, length] by the name of a state input, of the same float type.
    """
    values: dict[str, NDArray[Any]] = {INPUT: graph_input, **state}
    for node in nodes:
        values[node.name] = apply_op(node.op, [values[name] for name in node.inputs])
    return values


def check_graph(policy: Policy) -> None:
    """Check names, shapes and numbers of the whole graph.

    Raises:
        InputError: a shape that does not fit, an unknown input, NaN or inf among the weights; names
            the node.
    """
    if not policy.nodes:
        raise InputError("the policy has no layers")
    shapes = node_shapes(policy)
    outputs = shapes[policy.nodes[-1].name]
    if outputs != (policy.contract.action.count,):
        raise InputError(
            f"the network ends with shape {outputs}, the action needs "
            f"({policy.contract.action.count},)"
        )
    check_next_state(policy.contract, policy.next_state, policy.nodes[-1].name, shapes)


def check_next_state(
    contract: Contract,
    nodes: tuple[str, ...],
    output: str,
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Check that each state of the contract has a node of its own that makes its next value.

    Raises:
        InputError: it has none, or one of another shape, or one that something else is too.
    """
    if len(nodes) != len(contract.state):
        raise InputError(
            f"the contract has {len(contract.state)} states, {len(nodes)} nodes make the next ones"
        )
    for state, node in zip(contract.state, nodes, strict=True):
        if node.startswith(STATE) or shapes.get(node) != (state.length,):
            raise InputError(
                f"the next state {state.name} is {node} of shape {shapes.get(node)}, the contract "
                f"says {state.length} values"
            )
    if len({*nodes, output}) < len(nodes) + 1:
        raise InputError(
            f"the next states {', '.join(nodes)} and the output {output} must be different nodes"
        )


def node_shapes(policy: Policy) -> dict[str, tuple[int, ...]]:
    """Return each node's output shape without the batch, `INPUT` included."""
    shapes = input_shapes(policy.contract)
    for node in policy.nodes:
        if not is_name(node.name):
            raise InputError(f"a layer's name is {node.name!r}, it must be text")
        if node.name in shapes:
            raise InputError(f"two layers are called {node.name!r}")
        unknown = [name for name in node.inputs if name not in shapes]
        if unknown:
            raise InputError(f"{node.name}: input {unknown} is missing or comes later in the graph")
        if isinstance(node.op, Weighted):
            check_parameters(node.name, node.op)
        shapes[node.name] = output_shape(node, [shapes[name] for name in node.inputs])
    return shapes


def input_shapes(contract: Contract) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what a graph reads, without the batch: of `INPUT` and the states."""
    states = {state.tensor_name: (state.length,) for state in contract.state}
    return {INPUT: contract.observation.graph_shape, **states}
