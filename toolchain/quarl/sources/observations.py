"""The observations a policy meets: for its calibration, and held out, of other episodes.

In: a `Source` and perhaps a file. Out: two calibrations, from the file, from the recipe, or played.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.graph.contract import Contract
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Policy, node_shapes
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.shapes import quant_shapes
from quarl.quantize.calibration import (
    Calibration,
    calibrate,
    carried,
    drawn,
    read_observations,
)
from quarl.quantize.observation_file import KINDS
from quarl.sources.data_sets import KINDS as DATA_SETS
from quarl.sources.data_sets import is_data_set, read_data_set
from quarl.sources.source import Source
from quarl.stats.seeds import CALIBRATION_SEED, HELDOUT_SEED
from quarl.workers import HERE, Workers
from quarl.workers.progress import Progress

if TYPE_CHECKING:
    from quarl.rollouts.actors import Actor

# that a calibration is collected from: ranges from fewer clip what a longer life meets
EPISODES = 40
CALIBRATION_OBSERVATIONS = 2_000
HELDOUT_OBSERVATIONS = 1_000
MOST_VALUES = 1 << 28  # of all tensors for all observations: some 3 GB while it is quantised
DRAWN_SEEDS = (1, 2)  # of observations drawn over the input's range
HELDOUT_SHARE = 5  # one observation block in five of a user's own file is held out


def observations_of(
    source: Source,
    calibration: Path | NDArray[Any] | None,
    progress: Progress | None = None,
    workers: Workers = HERE,
) -> tuple[Calibration, Calibration]:
    """Return the calibration and the held-out observations, of different episodes: from a file,
    from the recipe, or played now.

    Args:
        calibration: a file of observations, a data set's name, or observations [n, *shape] in
            environment units.
    Raises:
        InputError: there is neither a file nor an environment, or the observations do not fit the
            contract.
    """
    contract = source.policy.contract
    if calibration is not None:
        where = calibration if isinstance(calibration, Path) else Path("observations")
        observations = _given(calibration, contract)
        check_amount(source.policy, len(observations.obs), where)
        return _split(_carried(source.policy, observations))
    if source.observations is not None:
        fitted_file, held_file = source.observations
        return read_observations(fitted_file, contract), read_observations(held_file, contract)
    if draws_observations(source, calibration):
        assert isinstance(source.policy, QuantPolicy)
        quantizer = source.policy.observation
        first, second = (drawn(quantizer, contract, seed) for seed in DRAWN_SEEDS)
        return first, second
    if source.env is None:
        raise InputError(
            "quantising needs observations the policy meets: give --env ID to play, or "
            f"--calibration FILE: {KINDS}; or a data set: {DATA_SETS}"
        )
    return _played(source.policy, source.env, workers, progress)


def _played(
    policy: Policy | QuantPolicy, env: EnvSpec, workers: Workers, progress: Progress | None
) -> tuple[Calibration, Calibration]:
    """Return the observations of episodes that are played now."""
    from quarl.rollouts.actors import source_actor
    from quarl.rollouts.collect import observe_episodes
    from quarl.rollouts.shares import Field

    contract, field = policy.contract, Field(env, workers)
    make = (
        partial(_integer_actor, policy)
        if isinstance(policy, QuantPolicy)
        else partial(source_actor, policy)
    )
    fitted = observe_episodes(
        field,
        make,
        range(CALIBRATION_SEED, CALIBRATION_SEED + EPISODES),
        CALIBRATION_OBSERVATIONS,
        progress,
    )
    held = observe_episodes(
        field,
        make,
        range(HELDOUT_SEED, HELDOUT_SEED + EPISODES // 2),
        HELDOUT_OBSERVATIONS,
        progress,
    )
    return calibrate(fitted.obs, contract, fitted.episode), calibrate(
        held.obs, contract, held.episode
    )


def _carried(policy: Policy | QuantPolicy, observations: Calibration) -> Calibration:
    return carried(policy, observations) if isinstance(policy, Policy) else observations


def _integer_actor(policy: QuantPolicy) -> Actor:
    from quarl.graph import reference as integer

    return partial(integer.act, policy)


def _given(calibration: Path | NDArray[Any], contract: Contract) -> Calibration:
    """Return the observations that the user gives: a file, the name of a data set, or an array."""
    if not isinstance(calibration, Path):
        return calibrate(np.asarray(calibration), contract)
    if is_data_set(str(calibration)):
        obs, episode = read_data_set(str(calibration))
        return calibrate(obs, contract, episode)
    return read_observations(calibration, contract)


def draws_observations(source: Source, calibration: Path | NDArray[Any] | None) -> bool:
    """Whether there are no observations, and none are needed: integers are there already."""
    known = calibration is not None or source.observations is not None or source.env is not None
    return isinstance(source.policy, QuantPolicy) and not known


def check_amount(policy: Policy | QuantPolicy, count: int, file: Path) -> None:
    """Check that the network's values for all observations together fit into memory.

    Raises:
        InputError: they do not; says how many observations do.
    """
    shapes = node_shapes(policy) if isinstance(policy, Policy) else quant_shapes(policy)
    each = sum(math.prod(shape) for shape in shapes.values())
    most = MOST_VALUES // each
    if count > most:
        raise InputError(
            f"{file}: {count:,} observations, at most {most:,} are used of a network with "
            f"{each:,} values for each: take every {-(-count // max(1, most))}th of each episode"
        )


def _split(observations: Calibration) -> tuple[Calibration, Calibration]:
    """Return four fifths and one fifth: whole episodes where they are known, otherwise blocks in
    order.
    """
    count = len(observations.obs)
    episodes = np.unique(observations.episode)
    if len(episodes) >= HELDOUT_SHARE:
        held = np.isin(observations.episode, episodes[HELDOUT_SHARE - 1 :: HELDOUT_SHARE])
    else:
        held = np.arange(count) * 4 * HELDOUT_SHARE // count % HELDOUT_SHARE == HELDOUT_SHARE - 1
    episode = observations.episode
    parts = (
        replace(
            observations,
            obs=observations.obs[keep],
            episode=episode[keep] if len(episode) else episode,
        )
        for keep in (~held, held)
    )
    fitted, rest = parts
    return fitted, rest
