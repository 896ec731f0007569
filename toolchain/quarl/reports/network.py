"""The network of a bundle and where its tensors lie: what is drawn and listed of them.

In: a quantised policy and the family of kernels. Out: each layer with its shape and bytes, and each
tensor's place in the arena over the steps of one inference, as the firmware has them.
"""

from __future__ import annotations

from dataclasses import dataclass

from quarl.boards.core import Kernels
from quarl.bundle.release import Release
from quarl.errors import QuarlError
from quarl.firmware.lower import lower
from quarl.firmware.lowering import SCRATCH
from quarl.firmware.source_tree import source_tree_from
from quarl.graph.policy import INPUT
from quarl.graph.quant_policy import QuantPolicy, QuantTable, QuantWeighted, stored_bits
from quarl.graph.shapes import Shape, quant_shapes
from quarl.reports.work import layer_work


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as it is stored."""

    name: str
    operation: str
    inputs: tuple[str, ...]  # layers; "observation" for the graph's own input
    shape: Shape  # of its output
    bits: int | None  # of its weights; None: it has none
    bytes: int  # in flash: weights, biases, factors, tables
    multiply_accumulates: int


@dataclass(frozen=True, slots=True)
class Lane:
    """A tensor or scratch area in the arena: alive from layer `first` to layer `last`."""

    name: str
    offset: int
    bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Network:
    """A policy as its firmware computes it."""

    input_shape: Shape
    layers: tuple[Layer, ...]
    kernels: Kernels
    arena_bytes: int | None  # None: no firmware is possible, see `reason`
    lanes: tuple[Lane, ...]
    reason: str = ""


OBSERVATION = "observation"


def network_of(policy: QuantPolicy, kernels: Kernels) -> Network:
    """Return the network of a policy."""
    shapes = quant_shapes(policy)
    works = {work.layer: work.multiply_accumulates for work in layer_work(policy)}
    try:
        program = lower(policy, kernels)
    except QuarlError as error:
        layers = _layers(policy, shapes, works, {})
        reason = str(error).partition("\n")[0]
        return Network(shapes[INPUT], layers, kernels, None, (), reason)
    stored: dict[str, int] = {}
    for call in program.calls:
        stored[call.node] = stored.get(call.node, 0) + call.bytes
    plan = program.plan
    lanes = tuple(
        Lane(_plain(b.name), plan.offsets[b.name], b.bytes, b.first, b.last) for b in plan.buffers
    )
    layers = _layers(policy, shapes, works, stored)
    return Network(shapes[INPUT], layers, kernels, plan.arena_bytes, lanes)


def kernels_of(release: Release) -> Kernels:
    """Return the kernels of a bundle's firmware, the portable ones where it has none."""
    files = release.firmware_files
    if not files:
        return "portable"
    try:
        return source_tree_from(files, release.contract, str(release.folder)).interface.kernels
    except QuarlError:  # whoever reads the firmware says what is wrong with it
        return "portable"


def _layers(
    policy: QuantPolicy, shapes: dict[str, Shape], works: dict[str, int], stored: dict[str, int]
) -> tuple[Layer, ...]:
    found = []
    for node in policy.nodes:
        op = node.op
        name = op.function if isinstance(op, QuantTable) else type(op).__name__
        found.append(
            Layer(
                name=node.name,
                operation=name.removeprefix("Quant").lower(),
                inputs=tuple(map(_plain, node.inputs)),
                shape=shapes[node.name],
                bits=stored_bits(op) if isinstance(op, QuantWeighted) else None,
                bytes=stored.get(node.name, 0),
                multiply_accumulates=works[node.name],
            )
        )
    return tuple(found)


def _plain(name: str) -> str:
    """Return a tensor's name for people; work areas are named by a number behind a mark."""
    if name.startswith(SCRATCH):
        return f"work area {int(name.removeprefix(SCRATCH)) + 1}"
    return OBSERVATION if name == INPUT else name
