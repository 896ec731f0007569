"""Episodes of an actor in its real environment, the same for any number of lanes.

In: an environment, an actor (`quarl.rollouts.actors`), one seed per episode.
Out: return, length and success of each episode.
Episode i is reset with seeds[i]; a lane that is done takes the next waiting episode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.files.numbers import LARGEST
from quarl.graph.contract import Action, Contract
from quarl.graph.env_spec import EnvSpec
from quarl.rollouts.actors import Actor
from quarl.rollouts.memory import Choose, Memory, begin
from quarl.rollouts.vector_env import open_lanes
from quarl.workers.progress import Progress, part_of

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
    tick: Callable[[], None] | None = None  # called after each step of the lanes; may raise
    replayed: int = REPLAYED  # episodes that a control plays again in any case
    with_state: bool = False  # `observe` is told rows (`quarl.graph.rows`) of a recurrent actor


def run_episodes(
    env: EnvSpec,
    actor: Actor,
    seeds: Sequence[int],
    *,
    lanes: int = DEFAULT_LANES,
    watch: Watch = Watch(),
) -> Episodes:
    """Return one episode per seed, bit-identical for any `lanes` if the actor treats its rows
    independently.

    Raises:
        InputError: no such environment, one that raises, gives rewards that are not finite, or goes
            on for `LONGEST_EPISODE_STEPS`; names the seed.
        ToolMissingError: the environment needs a package that is not installed.
    """
    choose, observe = begin(actor, seeds), watch.observe
    if watch.with_state and observe is not None and isinstance(choose, Memory):
        memory = choose
        watch = replace(watch, observe=lambda e, s, obs: observe(e, s, memory.rows(e, obs)))
    return _play(env, choose, seeds, lanes, watch)


@dataclass(frozen=True, slots=True)
class Player:
    """Who plays, and who is told what it sees."""

    actor: Actor
    observe: Observe | None = None


def play_together(
    env: EnvSpec,
    players: Sequence[Player],
    seeds: Sequence[int],
    *,
    lanes: int = DEFAULT_LANES,
    watch: Watch = Watch(),
) -> list[Episodes]:
    """Return what `run_episodes` returns for each player; `watch.observe` is told nothing. They
    share the lanes: an environment that steps them at once is asked half as often by two.

    Raises:
        InputError: as `run_episodes`.
    """
    choices = [(begin(player.actor, seeds), player.observe) for player in players]
    return _play_together(env, choices, seeds, lanes, watch)


class Beside(NamedTuple):
    """What came of an actor, of the control that watched it and of others who played with it."""

    played: Episodes
    control: Episodes
    has_chance: bool  # the environment has chance beside the seed, and control played them all
    others: list[Episodes]


def run_beside(
    env: EnvSpec,
    pair: tuple[Actor, Actor],
    seeds: Sequence[int],
    *,
    lanes: int = DEFAULT_LANES,
    watch: Watch = Watch(),
    others: Sequence[Player] = (),
) -> Beside:
    """Return the episodes of a pair, actor and control: what two calls of `run_episodes` return, at
    little more than the price of one; and those of `others`, who share the lanes.

    While `actor` plays, `control` is asked too. An episode in which it always gives the same action
    is its own as well; it plays the others. It also plays the first `watch.replayed` ones: where an
    equal player does not repeat them, the environment has chance beside the seed, and `control`
    plays them all.

    Raises:
        InputError: as `run_episodes`.
    """
    count, progress, turns = len(seeds), watch.progress, 1 + len(others)
    differs = np.zeros(count, np.bool_)
    actor, control = pair
    own_choice, other_choice = begin(actor, seeds), begin(control, seeds)

    def choose(episodes: NDArray[np.int64], obs: NDArray[Any]) -> NDArray[Any]:
        actions = own_choice(episodes, obs)
        rows = np.flatnonzero(~differs[episodes])
        if rows.size:
            answers = other_choice(episodes[rows], obs[rows])
            is_other = (answers != actions[rows]).reshape(len(rows), -1).any(axis=1)
            differs[episodes[rows]] = is_other
        return actions

    def replay(places: NDArray[np.int64]) -> Episodes:
        step = part_of(progress, turns * count, (1 + turns) * count)
        chosen = [seeds[place] for place in places]
        return run_episodes(env, control, chosen, lanes=lanes, watch=Watch(None, step, watch.tick))

    first = part_of(progress, 0, (1 + turns) * count)
    choices = [(begin(other.actor, seeds), other.observe) for other in others]
    played, *theirs = _play_together(
        env, [(choose, watch.observe), *choices], seeds, lanes, replace(watch, progress=first)
    )
    again = np.flatnonzero(differs | (np.arange(count) < watch.replayed))
    if not again.size:
        return Beside(played, played, False, theirs)
    own = replay(again)
    repeated = ~differs[again]
    has_chance = not np.array_equal(own.returns[repeated], played.returns[again][repeated])
    if has_chance:
        again = np.arange(count)
        own = replay(again)
    return Beside(played, _overlaid(played, again, own), has_chance, theirs)


def _overlaid(played: Episodes, places: NDArray[np.int64], own: Episodes) -> Episodes:
    """Return `played` with the episodes of `places` replaced by `own`."""
    returns, lengths = played.returns.copy(), played.lengths.copy()
    returns[places], lengths[places] = own.returns, own.lengths
    successes = None if played.successes is None else played.successes.copy()
    if successes is not None and own.successes is not None:
        successes[places] = own.successes
    return Episodes(played.seeds, returns, lengths, successes)


def join_episodes(parts: Sequence[Episodes]) -> Episodes:
    """Return the episodes of several runs as if they were one."""
    is_reported = any(part.successes is not None for part in parts)
    successes = [
        np.zeros(len(part.seeds), np.bool_) if part.successes is None else part.successes
        for part in parts
    ]
    return Episodes(
        tuple(seed for part in parts for seed in part.seeds),
        np.concatenate([part.returns for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate(successes) if is_reported else None,
    )


def some_of(whole: Episodes, start: int, stop: int) -> Episodes:
    """Return the episodes from start to stop - 1."""
    rows = slice(start, stop)
    successes = None if whole.successes is None else whole.successes[rows]
    return Episodes(whole.seeds[rows], whole.returns[rows], whole.lengths[rows], successes)


def random_episodes(
    env: EnvSpec,
    contract: Contract,
    seeds: Sequence[int],
    *,
    lanes: int = DEFAULT_LANES,
    watch: Watch = Watch(),
) -> Episodes:
    """Return episodes of uniformly random actions, a generator for each: the zero of the scale on
    which a margin is a share.

    Raises:
        InputError: as `run_episodes`.
    """
    action = contract.action
    generators = [
        np.random.default_rng((seed, 0x52414E44)) for seed in seeds
    ]  # another stream than the environment's own

    def choose(episodes: NDArray[np.int64], obs: NDArray[Any]) -> NDArray[Any]:
        if action.kind == "discrete":
            drawn = [generators[e].integers(action.count) for e in episodes]
            return np.array(drawn, np.int64) + action.start
        if action.kind == "multi_discrete":
            return np.array([generators[e].integers(action.counts) for e in episodes], np.int64)
        return np.array([_random_values(generators[e], action) for e in episodes], np.float32)

    return _play(env, choose, seeds, lanes, watch)


def _random_values(generator: np.random.Generator, action: Action) -> NDArray[np.float64]:
    """Return float64 [count]: uniform between finite bounds; else as gymnasium draws them, normal
    without bounds, exponential away from a single one.
    """
    low, high = np.array(action.low), np.array(action.high)
    has_low, has_high = np.isfinite(low), np.isfinite(high)
    if (has_low & has_high).all():
        return generator.uniform(low, high)
    uniform = generator.uniform(np.where(has_low, low, 0), np.where(has_high & has_low, high, 1))
    away = generator.exponential(size=len(low))
    normal = generator.normal(size=len(low))
    one_sided = np.where(has_low, low + away, np.where(has_high, high - away, normal))
    return np.where(has_low & has_high, uniform, one_sided)


def _play_together(
    env: EnvSpec,
    choices: Sequence[tuple[Choose, Observe | None]],
    seeds: Sequence[int],
    lanes: int,
    watch: Watch,
) -> list[Episodes]:
    """Return the episodes of each of those who choose; episode e of all is the e % n-th of its
    player, n being the number of seeds.
    """
    count = len(seeds)

    def parts(episodes: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        for turn in range(len(choices)):
            rows = np.flatnonzero(episodes // count == turn)
            if rows.size:
                yield turn, rows

    def observe(episodes: NDArray[np.int64], steps: NDArray[np.int64], obs: NDArray[Any]) -> None:
        for turn, rows in parts(episodes):
            told = choices[turn][1]
            if told is not None:
                told(episodes[rows] - turn * count, steps[rows], obs[rows])

    def choose(episodes: NDArray[np.int64], obs: NDArray[Any]) -> NDArray[Any]:
        chosen = [
            (rows, choices[turn][0](episodes[rows] - turn * count, obs[rows]))
            for turn, rows in parts(episodes)
        ]
        actions = np.empty((len(episodes), *chosen[0][1].shape[1:]), chosen[0][1].dtype)
        for rows, made in chosen:
            actions[rows] = made
        return actions

    all_seeds = [*seeds] * len(choices)
    whole = _play(env, choose, all_seeds, lanes, replace(watch, observe=observe))
    return [some_of(whole, turn * count, (turn + 1) * count) for turn in range(len(choices))]


def _play(
    env: EnvSpec,
    choose: Choose,
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
            if watch.tick is not None:
                watch.tick()
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
    bad = np.flatnonzero(~(np.abs(returns) <= LARGEST))  # NaN is one too
    if bad.size:
        raise InputError(
            f"{env.id}: the return of seed {seeds[bad[0]]} is {returns[bad[0]]}: its rewards "
            f"must be finite and add up to {LARGEST:g} at most"
        )
