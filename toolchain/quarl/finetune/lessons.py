"""Lessons: observations a student has met, and what its source does there.

Observations are held once, as the environment gave them: images are many and large.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarl.graph.policy import Policy
from quarl.rollouts.actors import Outputs, float_outputs


@dataclass(eq=False)
class Lessons:
    """Observations [n, *shape] in environment units and the source's outputs [n, count]."""

    source: Outputs
    obs: list[NDArray[Any]] = field(default_factory=list)
    outputs: list[NDArray[np.float32]] = field(default_factory=list)

    @staticmethod
    def of(policy: Policy) -> Lessons:
        """Return lessons of that policy, none yet."""
        return Lessons(float_outputs(policy))

    def __len__(self) -> int:
        return sum(map(len, self.obs))

    def add(self, obs: NDArray[Any]) -> None:
        """Ask the source about observations."""
        self.obs.append(obs)
        self.outputs.append(self.source(obs).astype(np.float32))

    def all_outputs(self) -> NDArray[np.float32]:
        """Return the source's outputs to all of them."""
        return np.concatenate(self.outputs)


class Deck:
    """Lessons as one student reads them, dealt in random batches."""

    def __init__(self, offsets: Any, rng: np.random.Generator) -> None:
        self._offsets, self._rng = offsets, rng
        self._obs: list[NDArray[Any]] = []
        self._outputs: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._rows: NDArray[np.int64] = np.zeros(0, np.int64)
        self._next = 0

    def refresh(self, lessons: Lessons) -> None:
        """Take in the lessons that are new."""
        if len(lessons.obs) == len(self._obs):
            return
        self._obs, self._outputs = list(lessons.obs), lessons.all_outputs()
        self._shuffle()

    def deal(self, count: int) -> tuple[Tensor, Tensor]:
        """Return inputs [count, ...] and the source's outputs [count, actions]: without repetition
        until all have been dealt.
        """
        if self._next + count > len(self._rows):
            self._shuffle()
        rows = self._rows[self._next : self._next + count]
        self._next += count
        inputs = self._offsets(self._observations(rows))
        return torch.from_numpy(inputs), torch.from_numpy(self._outputs[rows])

    def _shuffle(self) -> None:
        self._rows, self._next = self._rng.permutation(len(self._outputs)), 0

    def _observations(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        first, like = 0, self._obs[0]
        obs = np.empty((len(rows), *like.shape[1:]), like.dtype)
        for part in self._obs:
            is_here = (first <= rows) & (rows < first + len(part))
            obs[is_here] = part[rows[is_here] - first]
            first += len(part)
        return obs
