"""Episodes of an actor in its real environment, the same for any number of lanes.

In: an environment, an actor (`quarl.rollouts.actors`), one seed per episode.
Out: return, length and success of each episode, or observations.
Episode i is reset with seeds[i]; a lane that is done takes the next waiting episode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.graph.contract import Contract
from quarl.graph.env_spec import EnvSpec
from quarl.rollouts.actors import Actor
from quarl.rollouts.vector_env import open_lanes
from quarl.workers.progress import Progress

Observe: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[Any]], None]
"""Called before each step with episode numbers [k], step numbers [k] and the observations [k,
*shape] acted upon.
"""

DEFAULT_LANES = 64
REPLAYED = 2  # episodes that show whether the environment repeats itself
MOST_EPISODES = 1_000_000
LONGEST_EPISODE_STEPS = 100_000  # Atari, the longest in common use, ends at 27,000


@dataclass(frozen=True, slots=True, eq=False)
class Episodes:
    """What came of one actor's episodes, in the order of the seeds."""

    seeds: tuple[int, ...]
    returns: NDArray[np.float64]  # [n], undiscounted sum of rewards
    lengths: NDArray[np.int32]  # [n], environment steps
    successes: (
        NDArray[np.bool_] | None
        # [n], info["success"] or info["is_success"] of the last step; None where no episode reports
        # it
    )


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told while episodes are played."""

    observe: Observe | None = None
    progress: Progress | None = None


class Observations(NamedTuple):
    """Observations met on the way, in the order of (episode, step)."""

    obs: NDArray[Any]  # [count, *shape], raw units and dtype of the environment
    episode: NDArray[np.int64]  # [count], the place in `seeds` of the episode each comes from


def run_episodes(
    env: EnvSpec,
    actor: Actor,
    seeds: Sequence[int],
    *,
    lanes: int = DEFAULT_LANES,
    observe: Observe | None = None,
    progress: Progress | None = None,
) -> Episodes:
    """Return one episode per seed, bit-identical for any `lanes` if the actor treats its rows
    independently.

    Raises:
        InputError: no such environment, one that raises, gives rewards that are not finite, or goes
            on for `LONGEST_EPISODE_STEPS`; names the seed.
        ToolMissingError: the environment needs a package that is not installed.
    """
    watch = Watch(observe, progress)
    return _play(env, lambda episodes, obs: actor(obs), seeds, lanes, watch)


def run_beside(
    env: EnvSpec,
    actor: Actor,
    control: Actor,
    seeds: Sequence[int],
    *,
    lanes: int = DEFAULT_LANES,
    watch: Watch = Watch(),
) -> tuple[Episodes, Episodes]:
    """Return the episodes of `actor` and those of `control`: what two calls of `run_episodes`
    return, at little more than the price of one.

    While `actor` plays, `control` is asked too. An episode in which it always gives the same action
    is its own as well; it plays the others. It also plays the first REPLAYED ones: where an equal
    player does not repeat them, the environment has chance beside the seed, and `control` plays
    them all.

    Raises:
        InputError: as `run_episodes`.
    """
    count, progress = len(seeds), watch.progress
    differs = np.zeros(count, np.bool_)

    def choose(episodes: NDArray[np.int64], obs: NDArray[Any]) -> NDArray[Any]:
        actions = actor(obs)
        rows = np.flatnonzero(~differs[episodes])
        if rows.size:
            answers = control(obs[rows])
            is_other = (answers != actions[rows]).reshape(len(rows), -1).any(axis=1)
            differs[episodes[rows]] = is_other
        return actions

    def replay(places: NDArray[np.int64]) -> Episodes:
        step = None if progress is None else lambda done, all_: progress(count + done, count + all_)
        return run_episodes(
            env, control, [seeds[place] for place in places], lanes=lanes, progress=step
        )

    half = None if progress is None else lambda done, _: progress(done, 2 * count)
    played = _play(env, choose, seeds, lanes, Watch(watch.observe, half))
    again = np.flatnonzero(differs | (np.arange(count) < REPLAYED))
    own = replay(again)
    repeated = ~differs[again]
    if not np.array_equal(own.returns[repeated], played.returns[again][repeated]):
        again = np.arange(count)
        own = replay(again)
    return played, _overlaid(played, again, own)


def _overlaid(played: Episodes, places: NDArray[np.int64], own: Episodes) -> Episodes:
    """Return `played` with the episodes of `places` replaced by `own`."""
    returns, lengths = played.returns.copy(), played.lengths.copy()
    returns[places], lengths[places] = own.returns, own.lengths
    successes = None if played.successes is None else played.successes.copy()
    if successes is not None and own.successes is not None:
        successes[places] = own.successes
    return Episodes(played.seeds, returns, lengths, successes)


def random_episodes(
    env: EnvSpec,
    contract: Contract,
    seeds: Sequence[int],
    *,
    lanes: int = DEFAULT_LANES,
) -> Episodes:
    """Return episodes of uniformly random actions, a generator for each: the zero of the scale on
    which a margin is a share.

    Raises:
        InputError: as `run_episodes`; or a box action without finite bounds.
    """
    action = contract.action
    low, high = np.array(action.low), np.array(action.high)
    if action.kind == "box" and not np.isfinite([low, high]).all():
        raise InputError(
            f"{env.id}: random play needs finite action bounds, found {action.low} to "
            f"{action.high}: give random_return"
        )
    generators = [
        np.random.default_rng((seed, 0x52414E44)) for seed in seeds
    ]  # another stream than the environment's own

    def choose(episodes: NDArray[np.int64], obs: NDArray[Any]) -> NDArray[Any]:
        if action.kind == "discrete":
            drawn = [generators[e].integers(action.count) for e in episodes]
            return np.array(drawn, np.int64) + action.start
        if action.kind == "multi_discrete":
            return np.array([generators[e].integers(action.counts) for e in episodes], np.int64)
        return np.array([generators[e].uniform(low, high) for e in episodes], np.float32)

    return _play(env, choose, seeds, lanes, Watch())


def collect_observations(
    env: EnvSpec,
    actor: Actor,
    seeds: Sequence[int],
    count: int,
    *,
    lanes: int = DEFAULT_LANES,
    progress: Progress | None = None,
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
    run_episodes(env, actor, seeds, lanes=lanes, observe=collector, progress=progress)
    return collector.result()


def _play(
    env: EnvSpec,
    choose: Callable[[NDArray[np.int64], NDArray[Any]], NDArray[Any]],
    seeds: Sequence[int],
    lanes: int,
    watch: Watch,
) -> Episodes:
    count = len(seeds)
    _check_amount(env, count, lanes)
    returns, lengths = np.zeros(count), np.zeros(count, np.int64)
    successes: list[bool | None] = [None] * count
    opened = open_lanes(env, min(lanes, count))
    episode_of = np.arange(min(lanes, count))  # which episode each lane plays
    active = np.arange(len(episode_of))  # lanes that still play
    begun, done, ticks = len(active), 0, 0
    try:
        opened.start(active.tolist(), [seeds[e] for e in episode_of.tolist()])
        while active.size:
            episodes, obs = episode_of[active], opened.obs[active]
            if ticks >= LONGEST_EPISODE_STEPS:
                _check_lengths(env, seeds, episodes, lengths)
            if watch.observe is not None:
                watch.observe(episodes, lengths[episodes], obs)
            step = opened.step(active, choose(episodes, obs))
            returns[episodes] += step.rewards
            lengths[episodes] += 1
            ticks += 1
            if not step.ended.any():
                continue
            for k in np.flatnonzero(step.ended):
                successes[episodes[k]] = step.successes[k]
            free = active[step.ended]
            again = free[: count - begun]
            episode_of[again] = np.arange(begun, begun + len(again))
            begun, done = begun + len(again), done + len(free)
            active = np.setdiff1d(active, free[len(again) :])
            if again.size:
                opened.start(again.tolist(), [seeds[e] for e in episode_of[again].tolist()])
            if watch.progress is not None:
                watch.progress(done, count)
    finally:
        opened.close()
    _check_returns(env, seeds, returns)
    is_reported = any(success is not None for success in successes)
    return Episodes(
        tuple(seeds),
        returns,
        lengths.astype(np.int32),
        np.array([s is True for s in successes]) if is_reported else None,
    )


def _check_amount(env: EnvSpec, count: int, lanes: int) -> None:
    if count == 0 or lanes < 1:
        raise InputError(
            f"{env.id}: {count} episodes on {lanes} lanes: at least one of each is needed"
        )
    if count > MOST_EPISODES:
        raise InputError(
            f"{env.id}: {count:,} episodes, at most {MOST_EPISODES:,} are played at once"
        )


def _check_lengths(
    env: EnvSpec, seeds: Sequence[int], episodes: NDArray[np.int64], lengths: NDArray[np.int64]
) -> None:
    late = int(episodes[lengths[episodes].argmax()])
    if lengths[late] >= LONGEST_EPISODE_STEPS:
        raise InputError(
            f"{env.id}: the episode of seed {seeds[late]} goes on after "
            f"{LONGEST_EPISODE_STEPS} steps: register it with max_episode_steps"
        )


def _check_returns(env: EnvSpec, seeds: Sequence[int], returns: NDArray[np.float64]) -> None:
    bad = np.flatnonzero(~np.isfinite(returns))
    if bad.size:
        raise InputError(
            f"{env.id}: the return of seed {seeds[bad[0]]} is {returns[bad[0]]}: its rewards "
            "are not finite"
        )


class _Collector:
    """Keeps evenly spaced observations of each episode while it is played, at most twice what it
    will need, and each feature's extremes.
    """

    def __init__(self, env_id: str, seeds: tuple[int, ...], count: int) -> None:
        if count < 1:
            raise InputError(f"{env_id}: {count} observations asked for: at least one is needed")
        self._env_id, self._seeds, self._count = env_id, seeds, count
        self._capacity = 2 * -(-count // len(seeds))
        self._stride = np.ones(len(seeds), np.int64)  # every stride-th step of the episode is kept
        self._kept: list[list[tuple[int, NDArray[Any]]]] = [
            [] for _ in seeds
        ]  # (step, observation)
        self._extremes: tuple[_Extreme, _Extreme] | None = None

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
        episode, step = episodes[lane], steps[lane]
        is_earlier = (episode < self.episode) | ((episode == self.episode) & (step < self.step))
        new = (top > self._best) | ((top == self._best) & is_earlier)
        self._best[new], self.episode[new], self.step[new], self.rows[new] = (
            top[new],
            episode[new],
            step[new],
            obs[lane[new]],
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
