"""The beginning of a draft: pixel scaling and normalisation, which the contract's observation
does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.contract import Contract, Normalizer
from quarl.graph.policy import INPUT, Columns
from quarl.importers.draft import (
    SAME,
    Affine,
    Clip,
    Draft,
    DraftNode,
    Nodes,
    SourcePicture,
    affine,
    bypass,
    compose,
    consumers,
    swap,
)

NO_CLIP = float(np.finfo(np.float32).max)  # a normaliser that does not clip
# a network whose first step multiplies by less than this divides raw pixels itself (1/255, 1/128)
RAW_PIXEL_SCALE = 0.1


def takes_raw_pixels(draft: Draft) -> bool:
    """Whether the source itself divides the pixels, so that it is given 0..255."""
    is_divided = _divides(compose(draft.nodes), INPUT)
    return draft.layout != "vector" and (draft.input_dtype == "uint8" or is_divided)


def takes_bytes(nodes: Nodes, source: SourcePicture) -> bool:
    """Whether a picture among the values of a vector is given as bytes: by its type, or because the
    network divides it.
    """
    node = columns_of(nodes, source)
    return source.is_bytes or (node is not None and _divides(nodes, node.name))


def _divides(nodes: Nodes, picture: str) -> bool:
    """Whether every step that reads the picture makes its numbers much smaller."""
    scales = [_scale_of(node) for node in consumers(nodes, picture)]
    return bool(scales) and max(scales) < RAW_PIXEL_SCALE


def _scale_of(node: DraftNode) -> float:
    return float(np.abs(node.op.scale).max()) if isinstance(node.op, Affine) else 1.0


def columns_of(nodes: Nodes, source: SourcePicture) -> DraftNode | None:
    """Return the step that takes a picture out of the vector; None where nothing reads it."""
    columns = Columns(source.picture.first, source.picture.shape)
    return next((node for node in nodes if node.op == columns), None)


def with_pictures_divided(nodes: Nodes, source: SourcePicture) -> Nodes:
    """Return the nodes with a step that divides the bytes of a picture by 255."""
    columns = columns_of(nodes, source)
    if columns is None:
        return nodes
    name = f"{columns.name}.pixels"
    readers = consumers(nodes, columns.name)
    for node in readers:
        inputs = tuple(name if i == columns.name else i for i in node.inputs)
        nodes = swap(nodes, replace(node, inputs=inputs))
    step = DraftNode(name, affine(1 / 255, 0, source.picture.channels), (columns.name,), "")
    place = nodes.index(columns) + 1
    return (*nodes[:place], step, *nodes[place:])


def normalizes(draft: Draft) -> bool:
    """Whether the source itself normalises the vector it is given."""
    return (
        draft.layout == "vector"
        and split_normalizer(compose(draft.nodes), draft.input_shape[0])[1] is not None
    )


def source_input(draft: Draft, contract: Contract, obs: NDArray[Any]) -> NDArray[Any]:
    """Return what the source network is fed, in its layout and dtype, for observations [n,
    *shape] in environment units.
    """
    observation = contract.observation
    values = observation.to_graph(obs)
    if observation.is_image:
        scaled = values if takes_raw_pixels(draft) else values.astype(np.float32) / np.float32(255)
        values = scaled.transpose(0, 3, 1, 2) if draft.layout == "chw" else scaled
    elif observation.normalizer is not None and not normalizes(draft):
        values = observation.normalizer.apply(values)
    elif draft.pictures:
        values = _pictures_as_taken(draft, values)
    # what computes in half precision is proven in float32
    dtype = "float32" if draft.input_dtype == "float16" else draft.input_dtype
    return np.ascontiguousarray(values.astype(dtype))


def _pictures_as_taken(draft: Draft, values: NDArray[Any]) -> NDArray[np.float32]:
    """Return the vectors with each picture as the source takes it: divided where it does not do so
    itself, in its own order of axes.
    """
    taken, nodes = values.astype(np.float32), compose(draft.nodes)
    for source in draft.pictures:
        pixels = taken[:, source.picture.place].reshape(-1, *source.picture.shape)
        if not takes_bytes(nodes, source):
            pixels = pixels / np.float32(255)
        if source.layout == "chw":
            pixels = pixels.transpose(0, 3, 1, 2)
        taken[:, source.picture.place] = pixels.reshape(len(taken), -1)
    return taken


def split_normalizer(nodes: Nodes, features: int) -> tuple[Nodes, Normalizer | None]:
    """Take the affine step at the input, and the symmetric clip behind it, out of the graph and
    into the contract.
    """
    step, found, clip_obs = consumers(nodes, INPUT), affine(1, 0, features), NO_CLIP
    taken: list[DraftNode] = []
    if len(step) == 1 and isinstance(step[0].op, Affine) and step[0].op.scale.min() > 0:
        found = step[0].op
        taken.append(step[0])
        step = consumers(nodes, step[0].name)
    if len(step) == 1 and isinstance(step[0].op, Clip) and step[0].op.low == -step[0].op.high < 0:
        clip_obs = step[0].op.high
        taken.append(step[0])
    if not taken or len(taken) == len(nodes):
        return nodes, None
    for node in taken:
        nodes = bypass(nodes, node.name)
    mean, var = -found.offset / found.scale, 1 / found.scale**2
    return nodes, Normalizer(tuple(mean.tolist()), tuple(var.tolist()), 0.0, clip_obs)


def pixels_to_unit(nodes: Nodes, channels: int) -> Nodes:
    """Rewrite a graph of raw pixels 0..255 as one of pixels / 255."""
    first = consumers(nodes, INPUT)
    if not all(isinstance(node.op, Affine) for node in first):
        name = "pixels" if all(node.name != "pixels" for node in nodes) else "quarl.pixels"
        renamed = tuple(
            replace(node, inputs=tuple(name if i == INPUT else i for i in node.inputs))
            for node in nodes
        )
        return (DraftNode(name, affine(255, 0, channels), (INPUT,), INPUT), *renamed)
    for node in first:
        assert isinstance(node.op, Affine)
        scaled = Affine(node.op.scale * 255, node.op.offset)
        if np.abs(scaled.scale - 1).max() > SAME or scaled.offset.any():
            nodes = swap(nodes, replace(node, op=scaled))
        elif len(nodes) > 1:
            nodes = bypass(nodes, node.name)
    return nodes
