"""An environment is tried before any work: what it does wrong is told in one sentence.

In: an environment and the contract of the policy that is to play in it. Out: nothing, or an error.
Two environments that are made alike play the first steps of the same seed with the same actions:
they must meet the same. Observations and rewards must be finite. One that has no time limit must
come to an end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.graph.contract import Action, Contract
from quarl.graph.env_spec import EnvSpec
from quarl.rollouts.episodes import LONGEST_EPISODE_STEPS
from quarl.rollouts.foreign_env import make_env
from quarl.rollouts.vector_env import check_env

SEED = 0x57E5
FIRST_STEPS = 24
END_SECONDS = 20.0  # a slow environment is not waited for: what never ends is met in play


class _Met(NamedTuple):
    """What one step shows; the reset is step 0."""

    obs: NDArray[Any]
    reward: float
    ended: bool


def check_first_steps(
    env: EnvSpec, contract: Contract, clock: Callable[[], float] = time.perf_counter
) -> None:
    """Check that the environment's spaces are the contract's and that it can be played.

    Args:
        clock: seconds.
    Raises:
        InputError: other spaces, other first steps with the same seed, values that are not finite,
            no end in `LONGEST_EPISODE_STEPS`; or it raises.
        ToolMissingError: it needs a package that is not installed.
    """
    check_env(env, contract)
    first, again = (list(_steps(env, contract.action, FIRST_STEPS)) for _ in range(2))
    _check_finite(env, first)
    may_go_on = not first[-1].ended and not _has_time_limit(env)
    for step, (one, other) in enumerate(zip_longest(first, again)):
        if one is None or other is None or not _is_same(one, other):
            limit = (
                f". It has no time limit either and did not end in {FIRST_STEPS} steps: register "
                "it with max_episode_steps"
                if may_go_on
                else ""
            )
            raise InputError(
                f"{env.id}: two environments with seed {SEED} and the same actions part at step "
                f"{step}: draw every random number from self.np_random, which reset(seed=...) "
                f"seeds{limit}"
            )
    if may_go_on:
        _check_end(env, contract.action, clock)


def _steps(env: EnvSpec, action: Action, most: int) -> Iterator[_Met]:
    """Yield what an environment made for this shows: the reset and at most so many random steps."""
    rng = np.random.default_rng(SEED)
    with closing(make_env(env)) as made:
        yield _Met(made.reset(SEED).copy(), 0.0, False)
        for _ in range(most):
            obs, reward, ended, _ = made.step(_random_action(action, rng))
            yield _Met(obs.copy(), reward, ended)
            if ended:
                return


def _random_action(action: Action, rng: np.random.Generator) -> Any:
    """Return a uniform action in the environment's form; where a box has no bounds, one near 0."""
    if action.kind == "discrete":
        return np.int64(rng.integers(action.count) + action.start)
    if action.kind == "multi_discrete":
        return rng.integers(action.counts)
    low, high = np.array(action.low), np.array(action.high)
    is_bounded = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(is_bounded, low, -1.0), np.where(is_bounded, high, 1.0)
    return rng.uniform(low, high).astype(np.float32)


def _check_finite(env: EnvSpec, met: list[_Met]) -> None:
    for step, (obs, reward, _) in enumerate(met):
        if obs.dtype.kind == "f" and not np.isfinite(obs).all():
            place = [int(axis[0]) for axis in np.nonzero(~np.isfinite(obs))]
            raise InputError(
                f"{env.id}: observation {place} is {obs[tuple(place)]} at step {step} of seed "
                f"{SEED}: correct the environment"
            )
        if not np.isfinite(reward):
            raise InputError(
                f"{env.id}: the reward is {reward} at step {step} of seed {SEED}: correct the "
                "environment"
            )


def _is_same(one: _Met, other: _Met) -> bool:
    return (
        one.reward == other.reward
        and one.ended == other.ended
        and np.array_equal(one.obs, other.obs)
    )


def _has_time_limit(env: EnvSpec) -> bool:
    with closing(make_env(env)) as made:
        limit = made.time_limit
    return limit is not None and limit <= LONGEST_EPISODE_STEPS


def _check_end(env: EnvSpec, action: Action, clock: Callable[[], float]) -> None:
    began = clock()
    for met in _steps(env, action, LONGEST_EPISODE_STEPS):
        if met.ended or clock() - began > END_SECONDS:
            return
    raise InputError(
        f"{env.id}: an episode of random play goes on after {LONGEST_EPISODE_STEPS:,} steps: "
        "register it with max_episode_steps"
    )
