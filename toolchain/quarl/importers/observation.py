"""The beginning of a draft: pixel scaling and normalisation, which the contract's observation
does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.contract import Contract, Normalizer
from quarl.graph.policy import INPUT
from quarl.importers.draft import (
    SAME,
    Affine,
    Clip,
    Draft,
    DraftNode,
    Nodes,
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
    affine = leading_affine(compose(draft.nodes))
    scales_down = affine is not None and float(np.abs(affine.scale).max()) < RAW_PIXEL_SCALE
    return draft.layout != "vector" and (draft.input_dtype == "uint8" or scales_down)


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
    # what computes in half precision is proven in float32
    dtype = "float32" if draft.input_dtype == "float16" else draft.input_dtype
    return np.ascontiguousarray(values.astype(dtype))


def leading_affine(nodes: Nodes) -> Affine | None:
    """Return the affine step that alone reads the observation, None where there is none."""
    first = consumers(nodes, INPUT)
    return first[0].op if len(first) == 1 and isinstance(first[0].op, Affine) else None


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
    leading = leading_affine(nodes)
    if leading is None:
        name = "pixels" if all(node.name != "pixels" for node in nodes) else "quarl.pixels"
        renamed = tuple(
            replace(node, inputs=tuple(name if i == INPUT else i for i in node.inputs))
            for node in nodes
        )
        return (DraftNode(name, affine(255, 0, channels), (INPUT,), INPUT), *renamed)
    scaled = Affine(leading.scale * 255, leading.offset)
    if np.abs(scaled.scale - 1).max() <= SAME and not scaled.offset.any():
        return bypass(nodes, first[0].name) if len(nodes) > 1 else nodes
    return swap(nodes, replace(first[0], op=scaled))
