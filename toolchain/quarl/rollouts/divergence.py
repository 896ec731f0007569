"""When source and candidate part: the first step of an episode on which they act otherwise.

In: an actor, logged while it plays. Out: its actions by episode, and the first differing step of
two logs of the same seeds.
Up to that step both have seen the same observations, so what differs there is the policy's doing
and not the environment's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.contract import Action
from quarl.rollouts.actors import Actor
from quarl.rollouts.episodes import Observe
from quarl.rollouts.memory import Choose, begin

NEVER = -1
# box actions part where one value differs by this share of its range (of 1 where the range is
# infinite)
PARTED_SHARE = 0.05


class ActionLog:
    """An actor whose actions are kept; `observe` must be the hook of the same episodes."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._episodes: list[NDArray[np.int64]] = []
        self._actions: list[NDArray[Any]] = []
        self._hooks: list[Observe] = []

    def also(self, hook: Observe) -> None:
        """Hand on what `observe` is told to another hook."""
        self._hooks.append(hook)

    def observe(
        self, episodes: NDArray[np.int64], steps: NDArray[np.int64], obs: NDArray[Any]
    ) -> None:
        """Take in whose turn it is: episode numbers [k]."""
        self._episodes.append(episodes.copy())
        for hook in self._hooks:
            hook(episodes, steps, obs)

    def __call__(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return the actor's actions [k, ...]."""
        return self._kept(self._actor(obs))

    def begin(self, seeds: Sequence[int]) -> Choose:
        """Return what chooses in the episodes of these seeds, and is kept."""
        choose = begin(self._actor, seeds)
        return lambda episodes, obs: self._kept(choose(episodes, obs))

    def _kept(self, actions: NDArray[Any]) -> NDArray[Any]:
        self._actions.append(actions)
        return actions

    def by_episode(self, count: int) -> list[NDArray[Any]]:
        """Return the actions [steps, ...] of each of the `count` episodes, in the order of their
        steps.
        """
        episodes, actions = np.concatenate(self._episodes), np.concatenate(self._actions)
        order = np.argsort(episodes, kind="stable")
        ends = np.cumsum(np.bincount(episodes, minlength=count))
        return np.split(actions[order], ends[:-1])


def first_divergence(
    source: list[NDArray[Any]], candidate: list[NDArray[Any]], action: Action
) -> NDArray[np.int32]:
    """Return int32 [n]: the first step on which the actions of an episode differ, -1 where they
    never do.
    """
    return np.array(
        [_first(ours, theirs, action) for ours, theirs in zip(source, candidate, strict=True)],
        np.int32,
    )


def _first(source: NDArray[Any], candidate: NDArray[Any], action: Action) -> int:
    steps = min(len(source), len(candidate))
    source, candidate = source[:steps], candidate[:steps]
    if action.is_choice:
        differs = (source != candidate).reshape(steps, -1).any(axis=1)
    else:
        ranges = np.array(action.high) - np.array(action.low)
        apart = np.abs(source.astype(np.float64) - candidate) / np.where(
            np.isfinite(ranges), ranges, 1.0
        )
        differs = (apart > PARTED_SHARE).any(axis=1)
    return int(differs.argmax()) if differs.any() else NEVER
