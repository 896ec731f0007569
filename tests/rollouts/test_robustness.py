"""Disturbed observations: the same for source and candidate, whatever the lanes, and only what
their name says.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from quarl.graph.env_spec import EnvSpec
from quarl.rollouts.robustness import (
    DISTURBANCES,
    DROP_CHANCE,
    NOISE_SHARE,
    DisturbedActor,
    feature_spread,
    play_disturbed,
)
from quarl.rollouts.shares import Field

CARTPOLE = EnvSpec("CartPole-v1")
SEEDS = (7, 8, 9, 10, 11)


def lean(obs: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray(obs[:, 2] + 0.5 * obs[:, 3] > 0, np.int64)


def shown(name: str, obs: NDArray[np.float32], seed: int = 7) -> NDArray[np.float32]:
    """Return what an actor is shown of the observations [steps, features] of one episode."""
    seen: list[NDArray[np.float32]] = []
    actor = DisturbedActor(
        lambda row: seen.append(row[0].copy()) or np.zeros(1, np.int64),
        DISTURBANCES[name],
        [seed],
        feature_spread(obs),
    )
    for step, row in enumerate(obs):
        actor.observe(np.array([0]), np.array([step]), row[None])
        actor(row[None])
    return np.stack(seen)


OBS = np.random.default_rng(0).normal(0, (1, 10), (2000, 2)).astype(np.float32)


def test_noise_has_the_size_of_its_share_of_each_features_spread() -> None:
    noise = shown("noise", OBS) - OBS
    assert noise.std(axis=0) == pytest.approx(NOISE_SHARE * OBS.std(axis=0), rel=0.1)


def test_noise_on_pixels_stays_within_pixels() -> None:
    pixels = np.array([0, 255] * 50, np.uint8).reshape(50, 2)
    seen = shown("noise", pixels)  # type: ignore[arg-type]
    assert seen.dtype == np.uint8
    assert (seen != pixels).any()


def test_a_dropped_observation_is_the_one_shown_before() -> None:
    seen = shown("drop", OBS)
    dropped = (seen != OBS).any(axis=1)
    assert dropped.mean() == pytest.approx(DROP_CHANCE, abs=0.02)
    assert np.array_equal(seen[1:][dropped[1:]], seen[:-1][dropped[1:]])


def test_a_late_observation_is_that_of_the_step_before() -> None:
    seen = shown("delay", OBS)
    assert np.array_equal(seen[1:], OBS[:-1])
    assert np.array_equal(seen[0], OBS[0])


@pytest.mark.parametrize("name", sorted(DISTURBANCES))
def test_a_disturbed_episode_depends_on_its_seed_and_not_on_its_company(name: str) -> None:
    spread = np.array([1.0, 1.0, 0.1, 1.0])
    together = play_disturbed(Field(CARTPOLE), lambda: lean, SEEDS, name, spread)
    alone = [
        play_disturbed(Field(CARTPOLE), lambda: lean, [seed], name, spread).returns[0]
        for seed in SEEDS
    ]
    assert together.returns.tolist() == alone


def test_another_seed_is_disturbed_otherwise() -> None:
    assert not np.array_equal(shown("noise", OBS), shown("noise", OBS, seed=8))
