"""Actors that remember: a recurrent policy's state or a sampled policy's random numbers, carried
through each episode from its start.

In: a step of a policy, and the state at the start of an episode. Out: an actor, and what chooses
for the episodes of one run. Each episode has a state of its own, so neither the number of lanes nor
their order changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from quarl.graph.contract import Action
from quarl.graph.rows import join_rows
from quarl.graph.sampling import sample, seeded

Step: TypeAlias = Callable[[NDArray[Any], NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]
"""Observations [n, features] and states [n, values] -> outputs [n, count], and the next states."""

Choose: TypeAlias = Callable[[NDArray[np.int64], NDArray[Any]], NDArray[Any]]
"""Episode numbers [n] and observations [n, *shape], or outputs [n, count] -> actions."""


@runtime_checkable
class Remembers(Protocol):
    """An actor that has a choice of its own for each run of episodes."""

    def begin(self, seeds: Sequence[int]) -> Choose:
        """Return what chooses in the episodes of these seeds, which are all at their start."""


class RecurrentActor:
    """A recurrent policy as an actor; called as it is, every observation is an episode's first."""

    def __init__(self, action: Action, step: Step, start: NDArray[Any]) -> None:
        self._action, self._step, self._start = action, step, start

    def __call__(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return the likeliest actions at the start of episodes."""
        start = np.broadcast_to(self._start, (len(obs), len(self._start)))
        return self._action.decode(self._step(obs, start)[0])

    def begin(self, seeds: Sequence[int]) -> Memory:
        """Return what chooses in the episodes of these seeds, which are all at their start."""
        state = np.repeat(self._start[None], len(seeds), axis=0)
        return Memory(self._step, state, _decide(self._action, seeds))


class Memory:
    """The states of the episodes of one run."""

    def __init__(self, step: Step, state: NDArray[Any], decide: Choose) -> None:
        self._step, self._state, self._decide = step, state, decide

    def __call__(self, episodes: NDArray[np.int64], obs: NDArray[Any]) -> NDArray[Any]:
        """Return the actions, and remember the next states."""
        outputs, self._state[episodes] = self._step(obs, self._state[episodes])
        return self._decide(episodes, outputs)

    def rows(self, episodes: NDArray[np.int64], obs: NDArray[Any]) -> NDArray[Any]:
        """Return the observations with the states that they meet (`quarl.graph.rows`)."""
        return join_rows(obs, self._state[episodes])

    def state(self, episodes: NDArray[np.int64]) -> NDArray[Any]:
        """Return the states [n, values] of some episodes."""
        return self._state[episodes].copy()


class SampledActor:
    """A policy whose actions are drawn. The random numbers of an episode come from its seed alone:
    two such actors that play one seed draw the same ones.
    """

    def __init__(self, action: Action, outputs: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self._action, self._outputs = action, outputs

    def __call__(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return the likeliest actions."""
        return self._action.decode(self._outputs(obs))

    def begin(self, seeds: Sequence[int]) -> Choose:
        """Return what draws in the episodes of these seeds, which are all at their start."""
        decide = _decide(self._action, seeds)
        return lambda episodes, obs: decide(episodes, self._outputs(obs))


def _decide(action: Action, seeds: Sequence[int]) -> Choose:
    """Return what makes the actions of the episodes of these seeds from their outputs: the
    likeliest ones, or drawn ones.
    """
    if not action.sampled:
        return lambda episodes, outputs: action.decode(outputs)
    states = seeded(seeds)

    def draw(episodes: NDArray[np.int64], outputs: NDArray[Any]) -> NDArray[Any]:
        actions, states[episodes] = sample(action, outputs, states[episodes])
        return actions

    return draw


def begin(actor: Callable[[NDArray[Any]], NDArray[Any]], seeds: Sequence[int]) -> Choose:
    """Return what chooses in the episodes of these seeds that an actor plays."""
    if isinstance(actor, Remembers):
        return actor.begin(seeds)
    return lambda episodes, obs: actor(obs)
