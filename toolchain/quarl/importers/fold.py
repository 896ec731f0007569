"""From draft to policy: per-channel arithmetic (normalisation, batch normalisation, pixel scaling)
is folded exactly into the contract or a neighbouring layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError
from quarl.graph.contract import Observation
from quarl.graph.policy import (
    Activation,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Node,
    Op,
    Policy,
    Weighted,
)
from quarl.importers.action import beyond_bounds, split_action
from quarl.importers.draft import (
    Affine,
    Clip,
    Draft,
    DraftNode,
    DraftOp,
    Head,
    Linear,
    Nodes,
    bypass,
    compose,
    consumers,
    describe,
    node_named,
    shapes_of,
    swap,
)
from quarl.importers.formulas import clip_function
from quarl.importers.linear import as_dense, fold_linear
from quarl.importers.observation import (
    pixels_to_unit,
    split_normalizer,
    takes_bytes,
    takes_raw_pixels,
    with_pictures_divided,
)
from quarl.importers.options import ImportOptions, make_contract

NO_PADDING = ((0, 0), (0, 0))
PIXELS_DIVIDED = "pixels: divided by 255 before the network, which takes floats"


def finish(path: Path, draft: Draft, options: ImportOptions) -> Policy:
    """Return the policy: head dropped, arithmetic folded, contract completed by `options`.

    Raises:
        InputError: the action or the observation is not known, or contradicts `options`.
        UnsupportedError: a step that has no exact place in the policy; named.
    """
    nodes, action = split_action(path, draft, options)
    notes = (*draft.notes, *beyond_bounds(nodes, action))
    if draft.layout == "vector":
        nodes, normalizer = split_normalizer(nodes, draft.input_shape[0])
        if normalizer is not None and options.normalizer is not None:
            raise InputError(
                f"{path.name}: the network normalises its input itself, --obs-norm would do "
                "it twice: omit --obs-norm"
            )
        divided = _with_bytes(path, nodes, draft, options)
        notes += () if divided is nodes else (PIXELS_DIVIDED,)
        nodes = divided
        pictures = tuple(source.picture for source in draft.pictures)
        observation = Observation(
            draft.input_shape,
            "float32",
            "vector",
            (),
            normalizer,
            pictures=pictures,
            parts=draft.parts,
        )
    else:
        raw = takes_raw_pixels(draft)
        nodes = pixels_to_unit(nodes, draft.input_shape[-1]) if raw else nodes
        notes += () if raw else (PIXELS_DIVIDED,)
        height, width, channels = draft.input_shape
        shape = (channels, height, width) if draft.layout == "chw" else (height, width, channels)
        known = raw or (options.observation is not None and options.observation.is_image)
        if not known:
            raise _unknown_pixels(path, (height, width, channels), draft)
        observation = Observation(shape, "uint8", draft.layout)
    nodes = _fold(nodes, draft.input_shape)
    nodes = _with_own_output(nodes)
    contract = make_contract(path, options, observation, action, notes)
    closing = [(node.state, node.name) for node in nodes if node.state is not None]
    contract = replace(contract, state=tuple(state for state, _ in closing))
    shapes = shapes_of(nodes, draft.input_shape)
    layers = tuple(
        Node(node.name, _layer(path, node, len(shapes[node.name])), node.inputs) for node in nodes
    )
    made = tuple(name for _, name in closing)
    return Policy(layers, contract, "unknown", draft.framework, draft.source_sha256, made)


def _with_bytes(path: Path, nodes: Nodes, draft: Draft, options: ImportOptions) -> Nodes:
    """Return the nodes that take the bytes of each picture among the values of a vector.

    Raises:
        InputError: nobody says how bytes become what the network takes.
    """
    for source in draft.pictures:
        if takes_bytes(nodes, source):
            continue
        if options.observation is None or not options.observation.pictures:
            raise _unknown_pixels(path, source.picture.shape, draft)
        nodes = with_pictures_divided(nodes, source)
    return nodes


def _with_own_output(nodes: Nodes) -> Nodes:
    """Return the nodes with a step of its own at the end where the output is a state too."""
    last = nodes[-1]
    if last.state is None:
        return nodes
    same = Dense(
        np.eye(last.state.length, dtype=np.float32), np.zeros(last.state.length, np.float32)
    )
    return (*nodes, DraftNode(f"{last.name}.output", same, (last.name,), ""))


def _unknown_pixels(path: Path, shape: tuple[int, int, int], draft: Draft) -> InputError:
    size = "x".join(map(str, shape))
    space = _space_text(draft) if draft.pictures else f"image:{size}"
    return InputError(
        f"{path.name}: takes an image of floats, {size} values, and does not say how pixels become "
        f"them. Where each is a byte divided by 255, say --observation {space}, or add --env "
        "ID; else put the division in front of the network and export it again"
    )


def _space_text(draft: Draft) -> str:
    """Return a vector with pictures as --observation states it: its parts in their order."""
    parts, first = [], 0
    for picture in (source.picture for source in draft.pictures):
        if picture.first > first:
            parts.append(f"vector:{picture.first - first}")
        parts.append(f"image:{'x'.join(map(str, picture.shape))}")
        first = picture.place.stop
    if draft.input_shape[0] > first:
        parts.append(f"vector:{draft.input_shape[0] - first}")
    return "+".join(parts)


def _fold(nodes: Nodes, input_shape: tuple[int, ...]) -> Nodes:
    """Fold every affine step into the layer before it, or else into those after it, as far as that
    is exact.
    """
    folded: Nodes | None = nodes
    while folded is not None:
        nodes = compose(folded)
        shapes = shapes_of(nodes, input_shape)
        attempts = (
            _fold_one(shapes[node.name], nodes, node, node.op)
            for node in nodes
            if isinstance(node.op, Affine)
        )
        folded = next((attempt for attempt in attempts if attempt is not None), None)
        if folded is None:
            folded = _fold_padding(nodes)
        if folded is None:
            lengths = {name: shape[0] for name, shape in shapes.items() if len(shape) == 1}
            folded = fold_linear(nodes, lengths)
    return nodes


def _fold_one(shape: tuple[int, ...], nodes: Nodes, node: DraftNode, op: Affine) -> Nodes | None:
    before, after = node_named(nodes, node.inputs[0]), consumers(nodes, node.name)
    if (
        before is not None
        and isinstance(before.op, Weighted | Linear)
        and consumers(nodes, before.name) == [node]
    ):
        return bypass(swap(nodes, replace(before, op=_scale_outputs(before.op, op))), node.name)
    if len(after) == 1 and isinstance(after[0].op, Flatten):
        # the two change places: behind the flattening a dense layer may take the step
        repeats = int(np.prod(shape[:-1]))
        behind = Affine(np.tile(op.scale, repeats), np.tile(op.offset, repeats))
        flatten = replace(node, op=after[0].op, source=after[0].source)
        return swap(swap(nodes, flatten), replace(after[0], op=behind, source=node.source))
    takers = [taker for taker in after if isinstance(taker.op, Weighted | Linear)]
    if takers and len(takers) == len(after) and all(_can_take(n.op, op) for n in takers):
        for taker in takers:
            nodes = swap(nodes, replace(taker, op=_scale_inputs(taker.op, op)))
        return bypass(nodes, node.name)
    return None


def _fold_padding(nodes: Nodes) -> Nodes | None:
    """Give zeros around an image to the convolutions that alone read it, one step less."""
    for node in nodes:
        op, after = node.op, consumers(nodes, node.name)
        takers = [n.op for n in after if isinstance(n.op, Conv2D | DepthwiseConv2D)]
        if not _only_pads(op) or not takers or len(takers) != len(after):
            continue
        assert isinstance(op, DepthwiseConv2D)
        for taker in after:
            assert isinstance(taker.op, Conv2D | DepthwiseConv2D)
            (top, bottom), (left, right) = op.padding
            (above, below), (before, behind) = taker.op.padding
            padding = (top + above, bottom + below), (left + before, right + behind)
            nodes = swap(nodes, replace(taker, op=replace(taker.op, padding=padding)))
        return bypass(nodes, node.name)
    return None


def _only_pads(op: DraftOp) -> bool:
    return (
        isinstance(op, DepthwiseConv2D)
        and op.padding != NO_PADDING
        and op.weights.shape[1:] == op.stride == (1, 1)
        and bool((op.weights == 1).all())
        and not op.bias.any()
    )


def _can_take(layer: DraftOp, op: Affine) -> bool:
    """Whether the layer can do the step on its inputs: an offset cannot pass zero padding, which it
    would have to shift too.
    """
    is_padded = isinstance(layer, Conv2D | DepthwiseConv2D) and layer.padding != NO_PADDING
    return not is_padded or not op.offset.any()


def _scale_outputs(layer: DraftOp, op: Affine) -> DraftOp:
    assert isinstance(layer, Weighted | Linear)
    shape = (-1,) + (1,) * (layer.weights.ndim - 1)
    return _with(layer, layer.weights * op.scale.reshape(shape), layer.bias * op.scale + op.offset)


def _scale_inputs(layer: DraftOp, op: Affine) -> DraftOp:
    assert isinstance(layer, Weighted | Linear)
    weights = layer.weights.astype(np.float64)
    if isinstance(layer, DepthwiseConv2D):
        sums = weights.sum(axis=(1, 2)) * op.offset
        return _with(layer, weights * op.scale[:, None, None], layer.bias + sums)
    sums = (weights * op.offset).reshape(len(weights), -1).sum(axis=1)
    return _with(layer, weights * op.scale, layer.bias + sums)


def _with(
    layer: Weighted | Linear, weights: NDArray[np.floating[Any]], bias: NDArray[np.floating[Any]]
) -> DraftOp:
    if isinstance(layer, Linear):
        return Linear(weights.astype(np.float64), bias.astype(np.float64))
    return replace(layer, weights=weights.astype(np.float32), bias=bias.astype(np.float32))


def _layer(path: Path, node: DraftNode, rank: int) -> Op:
    """Return the layer that a step is; one that no neighbour could take is a layer of its own."""
    match node.op:
        case Head():
            raise UnsupportedError(
                f"{path.name}: {describe(node)} inside the network cannot be carried over: int8 "
                "has no softmax that all runtimes compute alike. Use a sigmoid or a hard choice "
                "there and train again"
            )
        case Clip(low=low, high=high):
            return Activation(clip_function(low, high))
        case Linear() as step:
            return as_dense(step)
        case Affine(scale=scale, offset=offset):
            factors, bias = scale.astype(np.float32), offset.astype(np.float32)
            if rank == 1:
                return Dense(np.diag(factors), bias)
            return DepthwiseConv2D(factors.reshape(-1, 1, 1), bias)
        case op:
            return op
