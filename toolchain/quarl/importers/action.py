"""The end of a draft: the last steps that the contract's action does, and that action."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from quarl.errors import InputError, UnsupportedError
from quarl.graph.contract import Action
from quarl.graph.policy import Activation, Dense
from quarl.importers.draft import (
    SAME,
    Affine,
    Clip,
    Draft,
    DraftNode,
    Head,
    Linear,
    Nodes,
    ancestors,
    compose,
    describe,
    node_named,
    shapes_of,
)
from quarl.importers.options import ImportOptions, describe_action, missing_action

SLACK = 1e-3  # of a bound that a file prints rounded


def split_action(path: Path, draft: Draft, options: ImportOptions) -> tuple[Nodes, Action]:
    """Return the nodes without the last steps that the contract's action does, and that action.

    Softmax and argmax go: the largest output stays the largest. So does a clip to the bounds, and
    the stretching of a tanh to the bounds.

    Raises:
        InputError: neither the file nor the options say what the outputs mean, or they disagree.
    """
    nodes, given = compose(draft.nodes), options.action_space
    heads = [node.op.function for node in nodes if isinstance(node.op, Head)]
    counts: tuple[int, ...] = ()
    while isinstance(op := nodes[-1].op, Head):
        nodes, counts = nodes[:-1], counts or op.counts
        if not nodes:
            raise InputError(
                f"{path.name}: the network is a {heads[0]} alone: there is no policy in it"
            )
    is_choice = bool(heads) and len(nodes) < len(compose(draft.nodes))
    shape = shapes_of(nodes, draft.input_shape)[nodes[-1].name]
    if len(shape) != 1:
        raise UnsupportedError(
            f"{path.name}: the network ends with shape {shape}, a policy ends with a vector: "
            "flatten the last layer"
        )
    count = shape[0]
    if given is None:
        if is_choice and counts:
            return nodes, Action("multi_discrete", count, counts=counts)
        if is_choice:
            return nodes, Action("discrete", count)
        raise missing_action(path.name, f"the network ends in {describe(_end(nodes))}", count)
    if is_yes_or_no(given, count) and not is_choice:
        return _two_each(nodes, count), given
    if (
        given.count != count
        or (is_choice and given.kind == "box")
        or counts not in ((), given.counts)
    ):
        ending = f" and ends in {heads[-1]}" if is_choice else ""
        ending += f" over {', '.join(map(str, counts))} of them" if counts else ""
        raise InputError(
            f"{path.name}: the network has {count} outputs{ending}, {options.action_by} says "
            f"{describe_action(given)}: give the environment it was trained on, or the space as "
            f"it was trained{_halves(given, count)}"
        )
    return _split_bounds(nodes, given) if given.kind == "box" else (nodes, given)


def _end(nodes: Nodes) -> DraftNode:
    """Return the last step that says something: of a layer and its bias, the layer."""
    last, before = nodes[-1], node_named(nodes, nodes[-1].inputs[0])
    is_bias = before is not None and isinstance(before.op, Dense) and isinstance(last.op, Affine)
    return before if before is not None and is_bias else last


def is_yes_or_no(given: Action, count: int) -> bool:
    """Whether the network has one output for each of several choices between two."""
    return given.kind == "multi_discrete" and given.counts == (2,) * count


def _two_each(nodes: Nodes, count: int) -> Nodes:
    """Return the nodes with an output of 0 before each: a choice is yes where its own is larger."""
    if nodes[-1].op == Activation("sigmoid"):  # above a half where its input is above 0
        nodes = nodes[:-1]
    weights = np.zeros((2 * count, count))
    weights[1::2] = np.eye(count)
    step = Linear(weights, np.zeros(2 * count))
    return (*nodes, DraftNode("yes_or_no", step, (nodes[-1].name,), ""))


def _halves(given: Action, count: int) -> str:
    """Return advice where the outputs are twice the action: often a mean and a spread."""
    if given.kind != "box" or count != 2 * given.count:
        return ""
    return (
        f". Twice as many outputs as action values are often means and log standard deviations: "
        f"where the means come first, add --output ':{given.count}'"
    )


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


def beyond_bounds(nodes: Nodes, action: Action) -> tuple[str, ...]:
    """Return a line where the file stretches a tanh further than the bounds to which it is clipped
    then; nothing where it does not.
    """
    last = nodes[-1]
    before = node_named(nodes, last.inputs[0])
    is_tanh = before is not None and before.op == Activation("tanh")
    if not is_tanh or not isinstance(last.op, Affine) or action.kind != "box":
        return ()
    reach = last.op.offset - np.abs(last.op.scale), last.op.offset + np.abs(last.op.scale)
    if (reach[0] >= np.array(action.low) - SLACK).all() and (
        reach[1] <= np.array(action.high) + SLACK
    ).all():
        return ()
    low, high = (float(side) for side in (reach[0].min(), reach[1].max()))
    return (f"actions: the network reaches {low:g} to {high:g}, the stated bounds cut that off",)


def _split_bounds(nodes: Nodes, given: Action) -> tuple[Nodes, Action]:
    """Drop a last step that `Action.decode` does; tanh and a clip to [-1, 1] mean that actions are
    stretched to the bounds.
    """
    last = nodes[-1]
    before = node_named(nodes, last.inputs[0])
    low, high = np.array(given.low), np.array(given.high)
    if not np.isfinite([low, high]).all():  # nothing can be spread over them
        return nodes, given
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
