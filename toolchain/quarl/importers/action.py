"""The end of a draft: the last steps that the contract's action does, and that action."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from quarl.errors import InputError, UnsupportedError
from quarl.graph.contract import Action
from quarl.graph.policy import Activation, Weighted
from quarl.importers.draft import (
    SAME,
    Affine,
    Clip,
    Draft,
    DraftNode,
    Head,
    Nodes,
    ancestors,
    compose,
    describe,
    node_named,
    shapes_of,
)
from quarl.importers.options import ImportOptions


def split_action(path: Path, draft: Draft, options: ImportOptions) -> tuple[Nodes, Action]:
    """Return the nodes without the last steps that the contract's action does, and that action.

    Softmax and argmax go: the largest output stays the largest. So does a clip to the bounds, and
    the stretching of a tanh to the bounds.
    """
    nodes, given = compose(draft.nodes), options.action_space
    head = nodes[-1].op if isinstance(nodes[-1].op, Head) else None
    while isinstance(nodes[-1].op, Head):
        nodes = nodes[:-1]
        if not nodes:
            raise InputError(
                f"{path.name}: the network is a {head.function if head else 'head'} alone: "
                "there is no policy in it"
            )
    shape = shapes_of(nodes, draft.input_shape)[nodes[-1].name]
    if len(shape) != 1:
        raise UnsupportedError(
            f"{path.name}: the network ends with shape {shape}, a policy ends with a vector: "
            "flatten the last layer"
        )
    count = shape[0]
    before = node_named(nodes, nodes[-1].inputs[0]) if isinstance(nodes[-1].op, Affine) else None
    is_stretched = before is not None and not isinstance(
        before.op, Weighted
    )  # behind a layer it is that layer's bias
    bounded = (
        is_stretched
        or isinstance(nodes[-1].op, Clip)
        or nodes[-1].op in (Activation("tanh"), Activation("sigmoid"))
    )
    if given is None:
        if head is None and bounded:
            raise InputError(
                f"{path.name}: the network ends in {describe(nodes[-1])}, so its {count} "
                "outputs look like a continuous action, "
                "and the file does not say its bounds: add --env ID, the environment it was "
                "trained on"
            )
        return nodes, Action("discrete", count)
    if given.count != count or (head is not None and given.kind == "box"):
        ending = f" and ends in {head.function}" if head is not None else ""
        raise InputError(
            f"{path.name}: the network has {count} outputs{ending}, the action space given "
            "with --env is "
            f"{given.kind} with {given.count} values: give the environment it was trained on"
        )
    return _split_bounds(nodes, given) if given.kind == "box" else (nodes, given)


def dropped_nodes(path: Path, draft: Draft, options: ImportOptions) -> list[tuple[DraftNode, bool]]:
    """Return the last steps that the contract's action does, in order, and whether each is a mere
    setting of the layer before it.
    """
    kept = {node.name for node in split_action(path, draft, options)[0]}
    nodes = compose(draft.nodes)
    sources = {node.name: node.source for node in nodes}
    return [
        (node, sources.get(node.inputs[0]) == node.source)
        for node in nodes
        if node.name not in kept
    ]


def _split_bounds(nodes: Nodes, given: Action) -> tuple[Nodes, Action]:
    """Drop a last step that `Action.decode` does; tanh and a clip to [-1, 1] mean that actions are
    stretched to the bounds.
    """
    last = nodes[-1]
    before = node_named(nodes, last.inputs[0])
    low, high = np.array(given.low), np.array(given.high)
    if isinstance(last.op, Clip):
        if np.allclose(last.op.low, low, rtol=SAME) and np.allclose(last.op.high, high, rtol=SAME):
            return nodes[:-1], replace(given, transform="clip")
        if (last.op.low, last.op.high) == (-1, 1):
            return nodes[:-1], replace(given, transform="unscale")
    if isinstance(last.op, Affine) and before is not None and before.op == Activation("tanh"):
        reached = last.op.offset - last.op.scale, last.op.offset + last.op.scale
        if np.allclose(reached[0], low, rtol=SAME) and np.allclose(reached[1], high, rtol=SAME):
            return ancestors(nodes, before.name), replace(given, transform="unscale")
    if last.op == Activation("tanh"):
        return nodes, replace(given, transform="unscale")
    return nodes, given
