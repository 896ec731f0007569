"""Linear steps fold into the layers beside them: slices, means, broadcasts, column orders, sums of
linear layers.

In: the nodes of a draft. Out: the same function with fewer steps. So a slice costs nothing, and a
duelling head or an average of linear heads becomes one layer.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import Add, Concat, Dense
from quarl.importers.draft import (
    DraftNode,
    Linear,
    Nodes,
    ancestors,
    bypass,
    consumers,
    node_named,
    swap,
)

SMALL = 1 << 12  # weights that may be stored twice, where that makes two layers one


def fold_linear(nodes: Nodes, lengths: dict[str, int]) -> Nodes | None:
    """Return the nodes with one linear step less; None where there is none to fold.

    Args:
        lengths: of every vector, by name, `INPUT` included.
    """
    for node in nodes:
        found = None
        if isinstance(node.op, Linear):
            found = (
                _into_before(nodes, node, node.op)
                or _into_after(nodes, node, node.op)
                or _through_concat(nodes, node, node.op, lengths)
            )
        elif isinstance(node.op, Add) and lengths.get(node.inputs[0]):
            found = _sum(nodes, node, lengths)
        if found is not None:
            return ancestors(found, found[-1].name)
    return None


def as_dense(step: Linear) -> Dense:
    """Return the step as a layer of its own."""
    return Dense(step.weights.astype(np.float32), step.bias.astype(np.float32))


def _weights(op: Dense | Linear) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return op.weights.astype(np.float64), op.bias.astype(np.float64)


def _with(
    op: Dense | Linear, weights: NDArray[np.float64], bias: NDArray[np.float64]
) -> Dense | Linear:
    return as_dense(Linear(weights, bias)) if isinstance(op, Dense) else Linear(weights, bias)


def _into_before(nodes: Nodes, node: DraftNode, step: Linear) -> Nodes | None:
    """Fold a step into the linear layer before it; that layer stays for others who read it."""
    before = node_named(nodes, node.inputs[0])
    if before is None or not isinstance(before.op, Dense | Linear):
        return None
    weights, bias = _weights(before.op)
    others = [other for other in consumers(nodes, before.name) if other is not node]
    is_small = len(step.weights) * weights.shape[1] <= max(SMALL, weights.size)
    if others and not (is_small or all(isinstance(other.op, Linear) for other in others)):
        return None
    joined = _with(before.op, step.weights @ weights, step.weights @ bias + step.bias)
    return swap(nodes, replace(node, op=joined, inputs=before.inputs))


def _into_after(nodes: Nodes, node: DraftNode, step: Linear) -> Nodes | None:
    """Fold a step into all the linear layers that read it."""
    after = consumers(nodes, node.name)
    if not after or not all(isinstance(other.op, Dense | Linear) for other in after):
        return None
    for other in after:
        assert isinstance(other.op, Dense | Linear)
        weights, bias = _weights(other.op)
        joined = _with(other.op, weights @ step.weights, weights @ step.bias + bias)
        nodes = swap(nodes, replace(other, op=joined))
    return bypass(nodes, node.name)


def _through_concat(
    nodes: Nodes, node: DraftNode, step: Linear, lengths: dict[str, int]
) -> Nodes | None:
    """Fold a step into the linear layers behind the concat that alone reads it."""
    after = consumers(nodes, node.name)
    if len(after) != 1 or not isinstance(after[0].op, Concat):
        return None
    concat = after[0]
    takers = consumers(nodes, concat.name)
    if not takers or not all(isinstance(taker.op, Dense | Linear) for taker in takers):
        return None
    for taker in takers:
        assert isinstance(taker.op, Dense | Linear)
        weights, bias = _weights(taker.op)
        parts, start = [], 0
        for name in concat.inputs:
            part = weights[:, start : start + lengths[name]]
            start += lengths[name]
            if name == node.name:
                bias = bias + part @ step.bias
                part = part @ step.weights
            parts.append(part)
        nodes = swap(nodes, replace(taker, op=_with(taker.op, np.concatenate(parts, axis=1), bias)))
    return bypass(nodes, node.name)


def _sum(nodes: Nodes, node: DraftNode, lengths: dict[str, int]) -> Nodes | None:
    """Return a sum of two linear layers as one layer, of both their inputs."""
    parts = [node_named(nodes, name) for name in node.inputs]
    left, right = parts
    if left is None or right is None:
        return None
    if not isinstance(left.op, Dense | Linear) or not isinstance(right.op, Dense | Linear):
        return None
    is_alone = all(consumers(nodes, part.name) == [node] for part in (left, right))
    (weights, bias), (others, offset) = _weights(left.op), _weights(right.op)
    if not is_alone and weights.size + others.size > SMALL:
        return None
    if left.inputs == right.inputs:
        op = as_dense(Linear(weights + others, bias + offset))
        return swap(nodes, replace(node, op=op, inputs=left.inputs))
    name = f"{node.name}.inputs"
    if name in lengths:
        return None
    joined = DraftNode(name, Concat(), (*left.inputs, *right.inputs), "")
    dense = as_dense(Linear(np.concatenate([weights, others], axis=1), bias + offset))
    place = next(index for index, other in enumerate(nodes) if other.name == node.name)
    new = replace(node, op=dense, inputs=(name,))
    return (*nodes[:place], joined, new, *nodes[place + 1 :])
