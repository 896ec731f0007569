"""Robustness: source and int8 policy under the same disturbed observations.

In: an actor and a disturbance. Out: an actor and the hook that shows it what the environment gave;
both go into `run_episodes`.
A disturbance depends on the episode's seed and the step, never on the lanes, so source and
candidate meet the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.rollouts.actors import Actor
from quarl.rollouts.episodes import Episodes, Watch, join_episodes, run_episodes
from quarl.rollouts.memory import Choose, begin
from quarl.rollouts.shares import Field, Maker, in_shares, opened
from quarl.workers.progress import Progress

# of each feature's standard deviation over the held-out observations; pixels: of 255
NOISE_SHARE = 0.02
# of each step: the sensor is silent and the policy sees the last observation again
DROP_CHANCE = 0.05
_STREAM = 0x4E4F4953  # another stream of the seed than the environment's own

Disturb = Callable[["Sight"], NDArray[Any]]


@dataclass(slots=True)
class Sight:
    """What one episode has seen so far: written by the player, read by the disturbance."""

    now: NDArray[Any]  # the observation the environment gives
    before: NDArray[Any]  # the one of the step before; on the first step the same
    shown: NDArray[Any]  # what the actor was shown last
    spread: NDArray[np.float64]  # standard deviation of each feature, or one for all
    generator: np.random.Generator


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One way in which observations go wrong."""

    name: str
    title: str
    disturb: Disturb


def _noise(sight: Sight) -> NDArray[Any]:
    moved = sight.now + NOISE_SHARE * sight.spread * sight.generator.standard_normal(
        sight.now.shape
    )
    if sight.now.dtype == np.uint8:
        return np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    return np.asarray(moved, sight.now.dtype)


def _drop(sight: Sight) -> NDArray[Any]:
    return sight.shown if sight.generator.random() < DROP_CHANCE else sight.now


def _delay(sight: Sight) -> NDArray[Any]:
    return sight.before


DISTURBANCES: Mapping[str, Disturbance] = MappingProxyType(
    {
        made.name: made
        for made in (
            Disturbance("noise", f"observation noise of {NOISE_SHARE:.0%}", _noise),
            Disturbance("drop", f"{DROP_CHANCE:.0%} of the observations dropped", _drop),
            Disturbance("delay", "observations one step late", _delay),
        )
    }
)


class DisturbedActor:
    """An actor that is shown disturbed observations; `observe` must be the hook of the same
    episodes.
    """

    def __init__(
        self,
        actor: Actor,
        disturbance: Disturbance,
        seeds: Sequence[int],
        spread: NDArray[np.float64],
    ) -> None:
        self._actor = actor
        self._disturb = disturbance.disturb
        self._seeds = tuple(seeds)
        self._spread = spread
        self._sights: dict[int, Sight] = {}
        self._shown: NDArray[Any] = np.zeros(0)

    def observe(
        self, episodes: NDArray[np.int64], steps: NDArray[np.int64], obs: NDArray[Any]
    ) -> None:
        """Take in what the environment gave each episode [k] on its step [k]: observations [k,
        *shape].
        """
        shown = obs.copy()
        for row, (episode, step) in enumerate(zip(episodes.tolist(), steps.tolist(), strict=True)):
            if step == 0:
                first = obs[row].copy()
                generator = np.random.default_rng((self._seeds[episode], _STREAM))
                self._sights[episode] = Sight(first, first, first, self._spread, generator)
            sight = self._sights[episode]
            sight.before, sight.now = (
                (sight.now, obs[row].copy()) if step else (sight.now, sight.now)
            )
            sight.shown = self._disturb(sight)
            shown[row] = sight.shown
        self._shown = shown

    def __call__(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return the actions for what `observe` was told last, disturbed."""
        return self._actor(self._shown)

    def begin(self, seeds: Sequence[int]) -> Choose:
        """Return what chooses in the episodes of these seeds, from what `observe` was told last."""
        choose = begin(self._actor, seeds)
        return lambda episodes, obs: choose(episodes, self._shown)


def play_disturbed(
    field: Field,
    make: Maker,
    seeds: Sequence[int],
    name: str,
    spread: NDArray[np.float64],
    progress: Progress | None = None,
) -> Episodes:
    """Return one episode per seed of the actor under the disturbance of that name."""
    return join_episodes(in_shares(field, partial(_disturbed, make, name, spread), seeds, progress))


def _disturbed(
    make: Maker,
    name: str,
    spread: NDArray[np.float64],
    field: Field,
    seeds: Sequence[int],
    watch: Watch,
) -> Episodes:
    disturbed = DisturbedActor(opened(make), DISTURBANCES[name], seeds, spread)
    watch = replace(watch, observe=disturbed.observe)
    return run_episodes(field.env, disturbed, seeds, lanes=field.lanes, watch=watch)


def feature_spread(obs: NDArray[Any]) -> NDArray[np.float64]:
    """Return the standard deviation of each feature of observations [n, *shape]; for pixels the
    whole range, once for all of them.
    """
    if obs.dtype == np.uint8:
        return np.array(255.0)
    return np.asarray(obs.astype(np.float64).std(axis=0))
