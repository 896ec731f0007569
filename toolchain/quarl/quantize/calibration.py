"""Calibration: the observations a policy meets when it plays, from which every range is taken.

In: observations of the policy's own rollouts (an `.npz` with `obs`, or an environment). Out: a
frozen value with what they cover.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.files.npz import npz_buffer
from quarl.graph.contract import Contract
from quarl.graph.policy import Policy
from quarl.graph.quant_tensor import ObservationQuantizer
from quarl.graph.rows import check_rows, join_rows, split_rows, start_of
from quarl.quantize.observation_file import read_observation_file

MIN_OBSERVATIONS = 16
DRAWN = 256  # observations drawn over the range of an input
PART_VALUES = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Observations [n, *shape] in environment units, of a recurrent policy rows with its state
    (`quarl.graph.rows`), and the episode each came from (int32 [n], or empty where unknown).
    """

    obs: NDArray[Any]
    episode: NDArray[np.int32]

    @property
    def episode_count(self) -> int:
        """How many episodes the observations are spread over; 0 where unknown."""
        return len(np.unique(self.episode))


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the calibration covers: a range seen once, or a feature never seen to move, is a range
    to doubt.

    A policy that stands still shows the same observation over and over: many observations then
    cover little.
    """

    observations: int
    distinct: int  # different ones among them
    episodes: int
    constant_features: tuple[str, ...]
    sha256: str  # of the observations, as an uncompressed `.npz` of `obs` holds them


def calibrate(
    obs: NDArray[Any], contract: Contract, episode: NDArray[Any] | None = None
) -> Calibration:
    """Return the observations as a Calibration.

    Args:
        obs: [n, *shape] in environment units, at least 16 of them.
    Raises:
        InputError: no real numbers, wrong shape, too few, NaN or inf, or nothing that ever changes.
    """
    if obs.dtype.kind not in "biuf":
        raise InputError(f"calibration: observations of type {obs.dtype}, real numbers are needed")
    check_rows(contract, obs)
    if len(obs) < MIN_OBSERVATIONS:
        raise InputError(
            f"calibration: {len(obs)} observations, at least {MIN_OBSERVATIONS} are needed "
            "(2,000 over 20 episodes are good)"
        )
    if contract.observation.is_image and obs.dtype != np.uint8:
        raise InputError(f"calibration: images are {obs.dtype}, the contract says uint8 pixels")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite on every target
        bad = sum(
            part.size - int(np.isfinite(part.astype(np.float32)).sum())
            for part in (_parts(obs) if obs.dtype.kind == "f" else ())
        )
    if bad:
        raise InputError(
            f"calibration: {bad} of {obs.size} values are NaN or infinite: record the "
            "observations again"
        )
    if all((part == obs[0]).all() for part in _parts(obs)):
        raise InputError(
            f"calibration: all {len(obs)} observations are the same, so no range can be "
            "measured: record whole episodes"
        )
    return Calibration(obs, np.zeros(0, np.int32) if episode is None else episode.astype(np.int32))


def _parts(obs: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the rows in parts, so that a question about all of them takes little memory."""
    rows = max(1, PART_VALUES // max(1, obs[0].size))
    return (obs[start : start + rows] for start in range(0, len(obs), rows))


def drawn(quantizer: ObservationQuantizer, contract: Contract, seed: int) -> Calibration:
    """Return observations whose integers are spread evenly over the input's range: what can be said
    of integers without the observations they were made for.
    """
    shape, tensor = contract.observation.graph_shape, quantizer.tensor
    generator = np.random.default_rng(seed)
    integers = generator.integers(tensor.qmin, tensor.qmax + 1, (DRAWN, *shape), np.int32)
    if quantizer.is_pixels:
        return Calibration((integers + 128).astype(np.uint8), np.zeros(0, np.int32))
    steps = (integers - quantizer.zero_point).astype(np.float32)
    return Calibration(steps / quantizer.inv_scale, np.zeros(0, np.int32))


def coverage(calibration: Calibration, contract: Contract) -> Coverage:
    """Return what the calibration covers."""
    constant: tuple[str, ...] = ()
    if not contract.observation.is_image:
        obs = split_rows(contract, calibration.obs)[0]
        still = np.flatnonzero((obs == obs[0]).all(axis=0))
        names = contract.observation.names
        constant = tuple(names[i] if names else f"feature {i}" for i in still)
    stored = npz_buffer({"obs": np.ascontiguousarray(calibration.obs)}, compress=False)
    digest = hashlib.sha256(stored).hexdigest()
    # their hashes of 64 bits, since the rows themselves may be most of the memory there is
    distinct = len({hash(row.tobytes()) for row in calibration.obs})
    return Coverage(len(calibration.obs), distinct, calibration.episode_count, constant, digest)


def carried(policy: Policy, calibration: Calibration) -> Calibration:
    """Return the calibration with the state that a recurrent policy has at each observation, of
    observations that follow one another within each episode; one that has it stays as it is.
    """
    contract, obs = policy.contract, calibration.obs
    if not contract.state or obs.shape[1] > contract.observation.shape[0]:
        return calibration
    episode = calibration.episode if len(calibration.episode) else np.zeros(len(obs), np.int32)
    rows: list[NDArray[np.float32]] = []
    state = start_of(contract)[None]
    for place in range(len(obs)):
        if place and episode[place] != episode[place - 1]:
            state = start_of(contract)[None]
        rows.append(join_rows(obs[place : place + 1], state))
        state = policy.step(rows[-1])[1]
    return replace(calibration, obs=np.concatenate(rows))


def read_observations(path: Path, contract: Contract) -> Calibration:
    """Return the observations in a file (`read_observation_file`), and their episodes.

    Raises:
        InputError: not such a file, or observations that do not fit the contract.
        UntrustedFileError: it asks to be unpickled, or claims too much memory.
    """
    obs, episode = read_observation_file(path, contract.observation.names)
    calibration = calibrate(obs, contract)
    if episode is None:
        return calibration
    if episode.shape != obs.shape[:1]:
        raise InputError(
            f"{path}: {len(obs)} observations, but `episode` has shape {episode.shape}"
        )
    if episode.dtype.kind not in "iu":
        raise InputError(
            f"{path}: `episode` holds {episode.dtype}, the number of an episode is an integer"
        )
    return Calibration(obs, episode.astype(np.int32))
