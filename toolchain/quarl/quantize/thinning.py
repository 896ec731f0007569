"""Fewer observations of a calibration that has very many, so that quantising takes no more memory
the more there are.

In: a policy and its calibration. Out: evenly spaced observations, and every one that shows the
lowest or the highest result of a channel. Ranges are therefore those of all observations; means and
covariances are those of the ones kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import INPUT, Policy
from quarl.graph.rows import split_rows, state_parts
from quarl.quantize.calibration import Calibration
from quarl.quantize.folding import float64_results
from quarl.quantize.transforms import center_head, units_of

MOST_OBSERVATIONS = 50_000
PART_ROWS = 4_096


def thinned(policy: Policy, calibration: Calibration) -> Calibration:
    """Return the calibration, or of more than MOST_OBSERVATIONS those that are kept, in order."""
    count = len(calibration.obs)
    if count <= MOST_OBSERVATIONS:
        return calibration
    extreme = _extreme_rows(policy, calibration.obs)
    others = MOST_OBSERVATIONS - len(extreme)
    rows = np.union1d(np.arange(others) * count // others, extreme)
    episode = calibration.episode
    return replace(
        calibration, obs=calibration.obs[rows], episode=episode[rows] if len(episode) else episode
    )


def _extreme_rows(policy: Policy, obs: NDArray[Any]) -> NDArray[np.int64]:
    """Return the rows that show the lowest or the highest value of a channel of any tensor."""
    lowest: dict[str, NDArray[Any]] = {}
    rows: dict[str, NDArray[np.int64]] = {}
    for start in range(0, len(obs), PART_ROWS):
        for name, values in _extents(policy, obs[start : start + PART_ROWS]):
            row = values.argmin(axis=0)
            low = np.take_along_axis(values, row[None], axis=0)[0]
            if name not in lowest:
                lowest[name], rows[name] = low, row + start
                continue
            is_lower = low < lowest[name]
            lowest[name] = np.where(is_lower, low, lowest[name])
            rows[name] = np.where(is_lower, row + start, rows[name])
    return np.unique(np.concatenate(list(rows.values())))


def _extents(policy: Policy, obs: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield, of each tensor, the lowest value of each channel [n, channels] and the highest with
    its sign turned; of a choice's head centred too. The range of pixels is known.
    """
    plain, held = split_rows(policy.contract, obs)
    state = state_parts(policy.contract, held.astype(np.float64))
    real = policy.graph_input(obs).astype(np.float64)
    units = units_of(policy)
    results: Mapping[str, NDArray[Any]] = float64_results(units, real, state)
    is_image = policy.contract.observation.is_image
    tensors = {name: values for name, values in results.items() if name != INPUT or not is_image}
    if not is_image:
        tensors["observation as it is"] = plain
    if policy.contract.action.kind == "discrete":
        tensors["centred head"] = float64_results(center_head(units), real, state)[units[-1].name]
    for name, values in tensors.items():
        by_channel = values.reshape(len(values), -1, values.shape[-1])
        yield f"{name}, low", by_channel.min(axis=1)
        yield f"{name}, high", -by_channel.max(axis=1).astype(np.float64)
