"""Actors that remember: a recurrent policy's state, carried through each episode from its start.

In: a step of a policy, and the state at the start of an episode. Out: an actor, and what chooses
for the episodes of one run. Each episode has a state of its own, so neither the number of lanes nor
their order changes anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from quarl.graph.rows import join_rows

Step: TypeAlias = Callable[[NDArray[Any], NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]
"""Observations [n, features] and states [n, values] -> actions, and the next states."""

Choose: TypeAlias = Callable[[NDArray[np.int64], NDArray[Any]], NDArray[Any]]
"""Episode numbers [n] and observations [n, *shape] -> actions."""


@runtime_checkable
class Remembers(Protocol):
    """An actor that has a choice of its own for each run of episodes."""

    def begin(self, count: int) -> Choose:
        """Return what chooses in `count` episodes, which are all at their start."""


class RecurrentActor:
    """A recurrent policy as an actor; called as it is, every observation is an episode's first."""

    def __init__(self, step: Step, start: NDArray[Any]) -> None:
        self._step, self._start = step, start

    def __call__(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return the actions at the start of episodes."""
        return self._step(obs, np.broadcast_to(self._start, (len(obs), len(self._start))))[0]

    def begin(self, count: int) -> Memory:
        """Return what chooses in `count` episodes, which are all at their start."""
        return Memory(self._step, self._start, count)


class Memory:
    """The states of the episodes of one run."""

    def __init__(self, step: Step, start: NDArray[Any], count: int) -> None:
        self._step = step
        self._state = np.repeat(start[None], count, axis=0)

    def __call__(self, episodes: NDArray[np.int64], obs: NDArray[Any]) -> NDArray[Any]:
        """Return the actions, and remember the next states."""
        actions, self._state[episodes] = self._step(obs, self._state[episodes])
        return actions

    def rows(self, episodes: NDArray[np.int64], obs: NDArray[Any]) -> NDArray[Any]:
        """Return the observations with the states that they meet (`quarl.graph.rows`)."""
        return join_rows(obs, self._state[episodes])

    def state(self, episodes: NDArray[np.int64]) -> NDArray[Any]:
        """Return the states [n, values] of some episodes."""
        return self._state[episodes].copy()


def begin(actor: Callable[[NDArray[Any]], NDArray[Any]], count: int) -> Choose:
    """Return what chooses in `count` episodes that an actor plays."""
    if isinstance(actor, Remembers):
        return actor.begin(count)
    return lambda episodes, obs: actor(obs)
