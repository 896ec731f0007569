"""Fold: all that is exact in float, before anything is rounded.

In: a policy, its calibration, settings. Out: `Folded`, and the float64 results of its units, which
the layers are fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import INPUT, Policy
from quarl.graph.quant_policy import ObservationQuantizer
from quarl.graph.rows import split_rows, state_parts
from quarl.quantize.calibration import Calibration
from quarl.quantize.loops import Loops, loops_of, with_narrow_copies
from quarl.quantize.observation import real_input, widest_observation
from quarl.quantize.settings import QuantSettings
from quarl.quantize.transforms import (
    Unit,
    center_head,
    equalize,
    input_joins,
    pictures,
    run_unit,
    units_of,
    with_finer_layers,
)

Results: TypeAlias = dict[str, NDArray[Any]]
"""Each unit's results for the calibration, by its name; `INPUT` and states included."""

CHUNK = 32  # images whose patches are in memory at once


@dataclass(frozen=True, slots=True, eq=False)
class Folded:
    """A policy in the shape its integers will have, and its calibration as its layers read it."""

    units: tuple[Unit, ...]
    observation: ObservationQuantizer
    integers: NDArray[np.int32]  # [n, *graph_shape], the observations as every target makes them
    # [n, *graph_shape], what the integers stand for, neither rounded nor clamped
    real: NDArray[Any]
    # of a recurrent policy: float64 [n, length] by the name of each state input, and its loops
    state: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    loops: Loops = ()


def fold(policy: Policy, calibration: Calibration, settings: QuantSettings) -> Folded:
    """Return the policy after all that is exact in float: joined ReLUs, a centred head, the
    observation's scales and normaliser in the first layer, equalised units.
    """
    units = units_of(policy)
    if settings.center_head and policy.contract.action.kind == "discrete":
        units = center_head(units)
    loops = loops_of(policy)
    units = with_narrow_copies(units, loops)
    obs, held = split_rows(policy.contract, calibration.obs)
    state = state_parts(policy.contract, held.astype(np.float64))
    if input_joins(units) or pictures(units):
        settings = replace(settings, feature_scales=True)
    peak = _joined_peak(units, policy.graph_input(calibration.obs), state)
    seen = replace(calibration, obs=obs)
    observation, units = widest_observation(policy, units, seen, settings, peak)
    graph_obs = policy.contract.observation.to_graph(obs)
    real = real_input(policy.contract.observation, graph_obs, observation)
    if settings.equalize_power > 0:
        units = equalize(units, _peaks(units, real, state), settings.equalize_power)
    units = with_finer_layers(units, settings.input_copies, settings.head_copies)
    return Folded(units, observation, observation.quantize(graph_obs), real, state, loops)


def _joined_peak(
    units: tuple[Unit, ...], graph_input: NDArray[Any], state: Mapping[str, NDArray[Any]]
) -> float | None:
    """Return the largest number that is joined with the observation; None where nothing is."""
    joins = input_joins(units)
    if not joins:
        return None
    values = float64_results(units, graph_input.astype(np.float64), state)
    joined = {n for unit in units if unit.name in joins for n in unit.inputs if n != INPUT}
    return max(float(np.abs(values[name]).max(initial=0)) for name in joined)


def float64_results(
    units: tuple[Unit, ...],
    real: NDArray[Any],
    state: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> Results:
    """Return every unit's float64 result by name, `INPUT` included.

    Sums of float32 differ in their last bits from one machine's matrix product to another's, and
    with them scales and biases.
    """
    values: Results = {INPUT: real, **state}
    for unit in units:
        values[unit.name] = in_chunks(
            lambda *parts, unit=unit: run_unit(
                unit, [part.astype(np.float64, copy=False) for part in parts]
            ),
            [values[name] for name in unit.inputs],
        )
    return values


def in_chunks(function: Callable[..., NDArray[Any]], arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """Return function(*arrays), computed in parts of the batch where the arrays are images: patches
    of few are in memory at once.
    """
    if arrays[0].ndim == 2:
        return function(*arrays)
    parts = [
        function(*(array[i : i + CHUNK] for array in arrays))
        for i in range(0, len(arrays[0]), CHUNK)
    ]
    return np.concatenate(parts)


def _peaks(
    units: tuple[Unit, ...], real: NDArray[Any], state: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.float64]]:
    values = float64_results(units, real, state)
    return {
        unit.name: np.abs(values[unit.name]).max(axis=tuple(range(values[unit.name].ndim - 1)))
        for unit in units
    }
