"""Units: the policy's graph as the quantiser sees it, ReLU joined to the layer before, parameters
in float64.

In: a Policy. Out: the same function, exactly, in the shape the integers will have. The lossless
transforms (rung 1) live here:
they change how numbers are written, not what the policy does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import (
    INPUT,
    Activation,
    Columns,
    Concat,
    Conv2D,
    Copying,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Node,
    Op,
    Policy,
    Weighted,
    apply_op,
)


@dataclass(frozen=True, slots=True)
class Unit:
    """One operation and, where `relu_max` is given, the clamp to [0, relu_max] that follows it."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    relu_max: float | None = None


def is_copying(unit: Unit) -> bool:
    """Whether the unit's integers are those of its one input, one after the other or repeated."""
    repeats = isinstance(unit.op, Concat) and len(set(unit.inputs)) == 1
    return isinstance(unit.op, Copying) or repeats


def units_of(policy: Policy) -> tuple[Unit, ...]:
    """Return the policy's units in order: each ReLU that alone reads a weighted layer is joined to
    it.

    Of a vector observation, or of columns of it, only dense layers are readers: a Flatten of it is
    dropped, and what else reads it does so through an identity layer. So the scales and the
    normaliser of an observation can always be folded. A picture among its columns needs neither.
    """
    readers: dict[str, list[Node]] = {}
    for node in policy.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    is_vector = not policy.contract.observation.is_image
    joins = input_joins(policy.nodes) if policy.contract.state else frozenset()
    columns = {
        node.name: len(node.op.shape) == 1 and node.op.shape[0]
        for node in policy.nodes
        if isinstance(node.op, Columns) and node.inputs == (INPUT,)
    }
    lengths = {INPUT: is_vector and policy.contract.observation.shape[0], **columns}
    units: dict[str, Unit] = {}
    renamed: dict[str, str] = {}
    for node in policy.nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        before = units.get(inputs[0])
        match node.op:
            case Activation(function="relu" | "relu6" as function) if (
                before is not None
                and isinstance(before.op, Weighted)
                and before.relu_max is None
                and len(readers[node.inputs[0]]) == 1
                and not {node.name, node.inputs[0]} & set(policy.next_state)
            ):
                units[before.name] = replace(before, relu_max=np.inf if function == "relu" else 6.0)
                renamed[node.name] = before.name
            case Flatten() if is_vector and inputs == (INPUT,) and node.name in readers:
                renamed[node.name] = INPUT
            case Dense() | Conv2D() | DepthwiseConv2D():
                op = _with(
                    node.op, node.op.weights.astype(np.float64), node.op.bias.astype(np.float64)
                )
                units[node.name] = Unit(node.name, op, inputs)
            case _:
                for name in set(inputs) & set(lengths):
                    count = lengths[name]
                    if not count or node.name in joins or node.name in columns:
                        continue
                    identity = f"{name}/identity"
                    layer = Dense(np.eye(count), np.zeros(count))
                    units.setdefault(identity, Unit(identity, layer, (name,)))
                    inputs = tuple(identity if other == name else other for other in inputs)
                units[node.name] = Unit(node.name, node.op, inputs)
    return tuple(units.values())


def input_joins(nodes: Sequence[Node | Unit]) -> frozenset[str]:
    """Return the names of the concats that begin with the observation and are read by dense layers
    alone: these take its scales and its normaliser in the columns that are the observation's.
    """
    return frozenset(
        node.name
        for node in nodes[:-1]
        if isinstance(node.op, Concat)
        and node.inputs[0] == INPUT
        and INPUT not in node.inputs[1:]
        and all(isinstance(other.op, Dense) for other in nodes if node.name in other.inputs)
    )


def input_readers(units: Sequence[Unit]) -> list[Unit]:
    """Return the layers that read the observation, those behind such a concat or such columns
    included.
    """
    sources = _sources(units)
    return [
        unit
        for unit in units
        if not isinstance(unit.op, Columns)
        and unit.name not in sources
        and sources.keys() & set(unit.inputs)
    ]


def pictures(units: Sequence[Unit]) -> list[slice]:
    """Return where in the observation pictures lie."""
    return [
        slice(unit.op.first, unit.op.first + prod(unit.op.shape))
        for unit in units
        if isinstance(unit.op, Columns) and unit.inputs == (INPUT,) and len(unit.op.shape) == 3
    ]


def _sources(units: Sequence[Unit]) -> dict[str, int]:
    """Return what holds features of the observation, by name, and which of them is its first."""
    vectors = {
        unit.name: unit.op.first
        for unit in units
        if isinstance(unit.op, Columns) and unit.inputs == (INPUT,) and len(unit.op.shape) == 1
    }
    return {INPUT: 0, **dict.fromkeys(input_joins(units), 0), **vectors}


def run_unit(unit: Unit, inputs: list[NDArray[Any]]) -> NDArray[Any]:
    """Return the unit's float result, clamp included, in the float type of its inputs."""
    result = apply_op(unit.op, inputs)
    return (
        result
        if unit.relu_max is None
        else np.clip(result, result.dtype.type(0), result.dtype.type(unit.relu_max))
    )


def run_units(units: tuple[Unit, ...], graph_input: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    """Return every unit's result by name, `INPUT` included."""
    values: dict[str, NDArray[Any]] = {INPUT: graph_input}
    for unit in units:
        values[unit.name] = run_unit(unit, [values[name] for name in unit.inputs])
    return values


def center_head(units: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """Return the units with the mean row of the last dense layer subtracted: the differences
    between actions, and so the argmax, stay.

    The common value (a Q of 100 with gaps of 0.1) no longer takes the range that the gaps need. A
    head that is not dense stays as it is.
    """
    head = units[-1]
    if not isinstance(head.op, Dense) or head.relu_max is not None:
        return units
    weights = head.op.weights - head.op.weights.mean(axis=0)
    return (
        *units[:-1],
        replace(head, op=_with(head.op, weights, head.op.bias - head.op.bias.mean())),
    )


def with_finer_layers(
    units: tuple[Unit, ...], input_copies: int, head_copies: int
) -> tuple[Unit, ...]:
    """Return the units with the dense layers that read the observation, and the last one where it
    is dense, reading their input several times, each time by that share of their weights.

    The sum stays, and the steps of the weights become that much finer: two copies are a bit more.
    """
    finer: list[Unit] = []
    for unit in units:
        is_first, is_last = unit.inputs == (INPUT,), unit is units[-1]
        copies = head_copies if is_last else input_copies if is_first else 1
        if copies == 1 or not isinstance(unit.op, Dense):
            finer.append(unit)
            continue
        repeated = Unit(_free_name(f"{unit.name}/copies", units), Concat(), unit.inputs * copies)
        weights = np.tile(unit.op.weights / copies, (1, copies))
        layer = replace(unit, op=_with(unit.op, weights, unit.op.bias), inputs=(repeated.name,))
        finer += [repeated, layer]
    return tuple(finer)


def _free_name(name: str, units: tuple[Unit, ...]) -> str:
    taken = {unit.name for unit in units}
    while name in taken:
        name += "_"
    return name


def equalize(
    units: tuple[Unit, ...], peaks: Mapping[str, NDArray[np.float64]], power: float
) -> tuple[Unit, ...]:
    """Return the units with each hidden channel scaled by (its peak / the largest peak) ** -power,
    and its readers' weights by the inverse.

    Exact for ReLU without an upper bound, whose output scales with its input. Only layers read by
    dense layers alone are touched.

    Args:
        peaks: float64 [channels] per unit, the largest output on the calibration observations.
        power: 0 changes nothing; 1 gives every channel the same peak; 0.5 goes half-way (facts on
            the gain: docs/quantizer.md).
    """
    result = list(units)
    for index, unit in enumerate(units):
        readers = [i for i, other in enumerate(units) if unit.name in other.inputs]
        is_inside = bool(readers) and all(isinstance(units[i].op, Dense) for i in readers)
        if unit.relu_max != np.inf or not isinstance(unit.op, Dense) or not is_inside:
            continue
        peak = peaks[unit.name]
        scale = np.where(peak > 0, peak / peak.max(), 1.0) if peak.max() > 0 else np.ones_like(peak)
        scale = np.maximum(scale, 2.0**-6) ** power
        op = result[index].op
        assert isinstance(op, Dense)
        result[index] = replace(
            result[index], op=_with(op, op.weights / scale[:, None], op.bias / scale)
        )
        for i in readers:
            reader = result[i].op
            assert isinstance(reader, Dense)
            result[i] = replace(result[i], op=_with(reader, reader.weights * scale, reader.bias))
    return tuple(result)


def fold_input(
    units: tuple[Unit, ...], step: NDArray[np.float64], offset: NDArray[np.float64]
) -> tuple[Unit, ...]:
    """Return the units reading integers q instead of values step * q + offset (per feature): every
    reader of `INPUT` must be dense.
    """
    readers, sources = input_readers(units), _sources(units)
    folded = []
    for unit in units:
        if unit in readers:
            assert isinstance(unit.op, Dense)
            first, width = sources[unit.inputs[0]], unit.op.weights.shape[1]
            steps, offsets = step[first : first + width], offset[first : first + width]
            own, others = np.split(unit.op.weights, [len(steps)], axis=1)
            weights = np.concatenate([own * steps, others], axis=1)
            unit = replace(unit, op=_with(unit.op, weights, unit.op.bias + own @ offsets))
        folded.append(unit)
    return tuple(folded)


def _with(
    op: Weighted, weights: NDArray[np.floating[Any]], bias: NDArray[np.floating[Any]]
) -> Weighted:
    return replace(op, weights=weights, bias=bias)
