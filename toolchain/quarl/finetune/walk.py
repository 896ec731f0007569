"""Observations of an actor's play, counted in observations and not in episodes.

In: an environment and an actor. Out: every observation met on a number of lanes that play on from
call to call, so that short rounds do not see the beginnings of episodes alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.env_spec import EnvSpec
from quarl.rollouts.actors import Actor
from quarl.rollouts.vector_env import open_lanes

RECENT = 100  # finished episodes whose mean return is told


class Walk:
    """Lanes that go on playing; episode i of the walk has seed `first_seed` + i."""

    def __init__(self, env: EnvSpec, lanes: int, first_seed: int) -> None:
        self._lanes = open_lanes(env, lanes)
        self._count, self._seed = lanes, first_seed
        self._returns = np.zeros(lanes)
        self.finished: list[float] = []  # returns of whole episodes, newest last
        self.steps = 0
        self._start(np.arange(lanes))

    def observe(self, actor: Actor, count: int, every: int = 1) -> NDArray[Any]:
        """Return `count` observations [count, *shape] met from here on, of every `every`-th
        step.
        """
        kept: list[NDArray[Any]] = []
        all_lanes = np.arange(self._count)
        taken, tick = 0, 0
        while taken < count:
            obs = self._lanes.obs
            if tick % every == 0:
                kept.append(np.array(obs[: count - taken]))
                taken += len(kept[-1])
            step = self._lanes.step(all_lanes, actor(obs))
            self._returns += step.rewards
            self.steps += self._count
            tick += 1
            ended = np.flatnonzero(step.ended)
            if ended.size:
                self.finished += self._returns[ended].tolist()
                self._start(ended)
        return np.concatenate(kept)

    @property
    def mean_return(self) -> float | None:
        """Mean return of the latest finished episodes; None where there are none."""
        return float(np.mean(self.finished[-RECENT:])) if self.finished else None

    def close(self) -> None:
        """Close the environments."""
        self._lanes.close()

    def _start(self, lanes: NDArray[np.int64]) -> None:
        seeds = list(range(self._seed, self._seed + len(lanes)))
        self._lanes.start(lanes.tolist(), seeds)
        self._seed += len(lanes)
        self._returns[lanes] = 0.0
