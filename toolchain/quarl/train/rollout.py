"""Whole episodes of a policy in a gymnasium environment, many lanes at once, each episode from its own seed.

Goes in: an environment, a function from observations to actions, the seeds. Comes out: `Episodes`, in the order of the seeds.
Which lane plays which seed changes nothing: an episode is decided by its seed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.recipe import EnvRecipe

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

Act: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
"""Observations [lanes, ...] as the environment gives them -> actions [lanes, ...] as the environment takes them."""


@dataclass(frozen=True, slots=True)
class Episodes:
    """Played episodes, one entry each, in the order of their seeds."""

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    successes: NDArray[np.bool_] | None  # info["success"] of the last step; None where the environment reports none
    obs: NDArray[Any] | None  # [steps of all episodes, ...] in order of episode and time; None unless asked for
    episode: NDArray[np.int32] | None  # [steps of all episodes] which episode an observation is from

    @property
    def success_rate(self) -> float | None:
        """Share of the episodes that succeeded."""
        return None if self.successes is None else float(self.successes.mean())


def make_lanes(env: EnvRecipe, lanes: int) -> VectorEnv[Any, Any, Any]:
    """Return the environment as `lanes` lanes that are reset by hand (`options={"reset_mask": ...}`).

    An environment with a vector version of its own that can be reset lane by lane is used as such, any other is stepped one by one.

    Raises:
        InputError: gymnasium does not know the id, or the environment refuses its arguments.
    """
    import gymnasium
    from gymnasium.vector import AutoresetMode

    kwargs: dict[str, Any] = dict(env.kwargs)
    try:
        module, _, name = env.id.rpartition(":")
        if module:
            __import__(module)
        if gymnasium.spec(name).namespace == "quarl":
            return gymnasium.make_vec(name, num_envs=lanes, autoreset_mode=AutoresetMode.DISABLED, **kwargs)
        by_hand = {"autoreset_mode": AutoresetMode.DISABLED}
        return gymnasium.make_vec(name, num_envs=lanes, vectorization_mode="sync", vector_kwargs=by_hand, **kwargs)
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise InputError(f"environment {env.id}: cannot be made with {kwargs}: {error}") from error


def play(env: EnvRecipe, act: Act, seeds: Sequence[int], *, lanes: int = 32, keep_obs: bool = False) -> Episodes:
    """Return one episode per seed, played with `act`."""
    lanes = min(lanes, len(seeds))
    envs = make_lanes(env, lanes)
    try:
        return _play(envs, act, seeds, keep_obs)
    finally:
        envs.close()


def _play(envs: VectorEnv[Any, Any, Any], act: Act, seeds: Sequence[int], keep_obs: bool) -> Episodes:
    lanes = envs.num_envs
    returns = np.zeros(len(seeds))
    lengths = np.zeros(len(seeds), np.int64)
    successes: NDArray[np.bool_] | None = None
    seen: list[list[NDArray[Any]]] = [[] for _ in seeds]
    playing = np.arange(lanes)  # index of the episode in each lane, -1 when there is none left
    started = lanes
    lane_seeds: list[int | None] = [int(seed) for seed in seeds[:lanes]]
    obs, _ = envs.reset(seed=lane_seeds)  # type: ignore[arg-type]  # gymnasium's vector environments take a list
    while (playing >= 0).any():
        if keep_obs:
            for lane in np.flatnonzero(playing >= 0):
                seen[playing[lane]].append(np.array(obs[lane]))
        obs, reward, terminated, truncated, info = envs.step(act(obs))
        active = np.flatnonzero(playing >= 0)
        returns[playing[active]] += reward[active]
        lengths[playing[active]] += 1
        done = terminated | truncated
        if not done.any():
            continue
        lane_seeds = [None] * lanes
        for lane in np.flatnonzero(done):
            if playing[lane] >= 0 and "success" in info:
                successes = np.zeros(len(seeds), np.bool_) if successes is None else successes
                successes[playing[lane]] = bool(info["success"][lane])
            playing[lane] = -1
            if started < len(seeds):
                playing[lane], lane_seeds[lane] = started, int(seeds[started])
                started += 1
        obs, _ = envs.reset(seed=lane_seeds, options={"reset_mask": done})  # type: ignore[arg-type]
    if not keep_obs:
        return Episodes(returns, lengths, successes, None, None)
    episode = np.repeat(np.arange(len(seeds), dtype=np.int32), lengths)
    return Episodes(returns, lengths, successes, np.stack([step for steps in seen for step in steps]), episode)


def random_act(env: EnvRecipe, seed: int) -> Act:
    """Return play by uniformly random actions."""
    lanes = make_lanes(env, 1)
    space = lanes.single_action_space
    lanes.close()
    space.seed(seed)
    return lambda obs: np.stack([space.sample() for _ in range(len(obs))])


def spread(episodes: Episodes, count: int) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Return about `count` observations, the same number from each episode and evenly spaced in it, and whose episode they are.

    Short episodes give all they have, and the long ones make up for them.
    """
    assert episodes.obs is not None
    assert episodes.episode is not None
    lengths = episodes.lengths
    share = 1
    while np.minimum(lengths, share).sum() < count and share < lengths.max():
        share += 1
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    picked = [
        start + np.unique(np.linspace(0, length - 1, min(length, share)).round().astype(np.int64))
        for start, length in zip(starts, lengths, strict=True)
    ]
    rows = np.concatenate(picked)
    if len(rows) > count:
        rows = rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]
    return episodes.obs[rows], episodes.episode[rows]
