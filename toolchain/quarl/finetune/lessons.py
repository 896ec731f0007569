"""Lessons: observations a student has met, and what its source does there.

Kept as the student reads them (bytes for pixels), so that an epoch costs no arithmetic.
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

    def all_obs(self) -> NDArray[Any]:
        """Return all observations, oldest first."""
        return np.concatenate(self.obs)

    def all_outputs(self) -> NDArray[np.float32]:
        """Return the source's outputs to all of them."""
        return np.concatenate(self.outputs)


class Deck:
    """Lessons as one student reads them, dealt in random batches."""

    def __init__(self, offsets: Any, rng: np.random.Generator) -> None:
        self._offsets_of, self._rng = offsets, rng
        self._offsets: list[NDArray[Any]] = []
        self._rows: NDArray[np.int64] = np.zeros(0, np.int64)
        self._inputs: NDArray[Any] | None = None
        self._outputs: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._next = 0

    def refresh(self, lessons: Lessons) -> None:
        """Take in the lessons that are new."""
        new = lessons.obs[len(self._offsets) :]
        if not new:
            return
        self._offsets += [self._offsets_of(part) for part in new]
        self._inputs = np.concatenate(self._offsets)
        self._outputs = lessons.all_outputs()
        self._rows = self._rng.permutation(len(self._inputs))
        self._next = 0

    def deal(self, count: int) -> tuple[Tensor, Tensor]:
        """Return inputs [count, ...] and the source's outputs [count, actions]: without repetition
        until all have been dealt.
        """
        assert self._inputs is not None
        if self._next + count > len(self._rows):
            self._rows, self._next = self._rng.permutation(len(self._inputs)), 0
        rows = self._rows[self._next : self._next + count]
        self._next += count
        return torch.from_numpy(self._inputs[rows]), torch.from_numpy(self._outputs[rows])
