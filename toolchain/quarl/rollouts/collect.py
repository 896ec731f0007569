"""Observations met on the way: a share of every episode, and each feature's extremes.

In: an environment, an actor, seeds. Out: observations for a calibration, the same for any number of
lanes and of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.graph.env_spec import EnvSpec
from quarl.rollouts.actors import Actor
from quarl.rollouts.episodes import DEFAULT_LANES, Watch, run_episodes
from quarl.rollouts.shares import Field, Maker, in_shares, opened
from quarl.workers.progress import Progress


class Observations(NamedTuple):
    """Observations met on the way, in the order of (episode, step)."""

    # [count, *shape], raw units and dtype of the environment; rows with the state (graph.rows) of a
    # recurrent actor
    obs: NDArray[Any]
    episode: NDArray[np.int64]  # [count], the place in `seeds` of the episode each comes from


def collect_observations(
    env: EnvSpec,
    actor: Actor,
    seeds: Sequence[int],
    count: int,
    *,
    lanes: int = DEFAULT_LANES,
) -> Observations:
    """Return about `count` observations of the actor's episodes for calibration; fewer where the
    episodes are shorter than that.

    They are spread evenly over each episode, and over the episodes as equally as their lengths
    allow. On top of `count` come the observations with the smallest and the largest value of each
    feature of a vector (at most two per feature): rare extremes decide ranges.

    Raises:
        InputError: as `run_episodes`; or an observation that is NaN or infinite (names feature,
            seed and step).
    """
    collector = _Collector(env.id, tuple(seeds), count)
    run_episodes(env, actor, seeds, lanes=lanes, watch=Watch(collector, with_state=True))
    return collector.result()


def observe_episodes(
    field: Field,
    make: Maker,
    seeds: Sequence[int],
    count: int,
    progress: Progress | None = None,
) -> Observations:
    """Return what `collect_observations` returns, computed by the field's workers."""
    whole = _Collector(field.env.id, tuple(seeds), count)
    part = partial(_observed, make, whole)
    for collector in in_shares(field, part, seeds, progress):
        whole.take(collector)
    return whole.result()


def _observed(
    make: Maker, whole: _Collector, field: Field, seeds: Sequence[int], watch: Watch
) -> _Collector:
    collector = whole.of(tuple(seeds))
    run_episodes(
        field.env,
        opened(make),
        seeds,
        lanes=field.lanes,
        watch=Watch(collector, watch.progress, watch.tick, with_state=True),
    )
    return collector


class _Collector:
    """Keeps evenly spaced observations of each episode while it is played, at most twice what it
    will need, and each feature's extremes.
    """

    def __init__(
        self, env_id: str, seeds: tuple[int, ...], count: int, capacity: int | None = None
    ) -> None:
        if count < 1:
            raise InputError(f"{env_id}: {count} observations asked for: at least one is needed")
        self._env_id, self._seeds, self._count = env_id, seeds, count
        self._capacity = capacity or 2 * -(-count // len(seeds))
        self._stride = np.ones(len(seeds), np.int64)  # every stride-th step of the episode is kept
        self._kept: list[list[tuple[int, NDArray[Any]]]] = [
            [] for _ in seeds
        ]  # (step, observation)
        self._extremes: tuple[_Extreme, _Extreme] | None = None

    def of(self, seeds: tuple[int, ...]) -> _Collector:
        """Return an empty collector for some of the episodes."""
        return _Collector(self._env_id, seeds, self._count, self._capacity)

    def take(self, other: _Collector) -> None:
        """Take in what a collector of some of the episodes has kept."""
        first = self._seeds.index(other._seeds[0])
        self._kept[first : first + len(other._kept)] = other._kept
        if other._extremes is None:
            return
        for extreme in other._extremes:
            extreme.episode += first
        if self._extremes is None:
            self._extremes = other._extremes
            return
        for extreme, found in zip(self._extremes, other._extremes, strict=True):
            extreme.take(found)

    def __call__(
        self, episodes: NDArray[np.int64], steps: NDArray[np.int64], obs: NDArray[Any]
    ) -> None:
        if not np.isfinite(obs).all():
            row, *place = (int(axis[0]) for axis in np.nonzero(~np.isfinite(obs)))
            at = f"seed {self._seeds[episodes[row]]}, step {steps[row]}"
            raise InputError(
                f"{self._env_id}: observation {place} is {obs[(row, *place)]} at {at}: a "
                "policy cannot be calibrated on it"
            )
        for k in np.flatnonzero(steps % self._stride[episodes] == 0):
            episode = int(episodes[k])
            kept = self._kept[episode]
            kept.append((int(steps[k]), obs[k].copy()))
            if len(kept) > self._capacity:
                del kept[1::2]
                self._stride[episode] *= 2
        if obs.ndim == 2:
            if self._extremes is None:
                self._extremes = (_Extreme(obs, 1), _Extreme(obs, -1))
            for extreme in self._extremes:
                extreme.update(episodes, steps, obs)

    def result(self) -> Observations:
        lengths = np.array([len(kept) for kept in self._kept])
        chosen: dict[tuple[int, int], NDArray[Any]] = {}
        for episode, (kept, share) in enumerate(
            zip(self._kept, _equal_shares(lengths, self._count), strict=True)
        ):
            for place in np.linspace(0, len(kept) - 1, share).round().astype(int):
                step, obs = kept[place]
                chosen[episode, step] = obs
        for extreme in self._extremes or ():
            for episode, step, obs in zip(
                extreme.episode.tolist(), extreme.step.tolist(), extreme.rows, strict=True
            ):
                chosen[episode, step] = obs
        places = sorted(chosen)
        return Observations(
            np.stack([chosen[place] for place in places]),
            np.array([episode for episode, _ in places], np.int64),
        )


class _Extreme:
    """The first observation, in the order of (episode, step), that has the largest value of sign *
    feature, for each feature.
    """

    def __init__(self, like: NDArray[Any], sign: int) -> None:
        features = like.shape[1]
        self._sign = sign
        self._best = np.full(features, -np.inf)
        self.episode, self.step = np.zeros(features, np.int64), np.zeros(features, np.int64)
        self.rows = np.zeros(
            (features, features), like.dtype
        )  # the whole observation, for each feature

    def update(
        self, episodes: NDArray[np.int64], steps: NDArray[np.int64], obs: NDArray[Any]
    ) -> None:
        values = self._sign * obs.astype(np.float64)
        top = values.max(axis=0)
        if not (top >= self._best).any():
            return
        # among equal values the earliest in (episode, step), so that the choice does not depend on
        # the lanes
        order = np.lexsort((steps, episodes))
        lane = order[(values[order] == top).argmax(axis=0)]
        self._keep(top, episodes[lane], steps[lane], obs[lane])

    def take(self, other: _Extreme) -> None:
        """Take in what was found in other episodes."""
        self._keep(other._best, other.episode, other.step, other.rows)

    def _keep(
        self,
        top: NDArray[np.float64],
        episode: NDArray[np.int64],
        step: NDArray[np.int64],
        rows: NDArray[Any],
    ) -> None:
        is_earlier = (episode < self.episode) | ((episode == self.episode) & (step < self.step))
        new = (top > self._best) | ((top == self._best) & is_earlier)
        self._best[new], self.episode[new], self.step[new], self.rows[new] = (
            top[new],
            episode[new],
            step[new],
            rows[new],
        )


def _equal_shares(lengths: NDArray[np.int64], count: int) -> list[int]:
    """Return how many to take of each, as equal as the lengths allow, `count` in all where there
    are as many.
    """
    shares = np.zeros_like(lengths)
    left = min(count, int(lengths.sum()))
    for rank, place in enumerate(
        np.argsort(lengths, kind="stable")
    ):  # the shortest first: what it lacks goes to the longer ones
        shares[place] = min(int(lengths[place]), left // (len(lengths) - rank))
        left -= int(shares[place])
    return [int(share) for share in shares]
