"""Transitions over several steps, as actors send them and the replay keeps them: one row each.

In: single steps of one environment. Out: rows of (observation, action, discounted sum of rewards,
discount, observation after them), and who made them with which policy.
A transition ends with its episode. Where the clock alone cut the episode off, the value of its last
observation still counts.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.graph.contract import Contract

Rows: TypeAlias = NDArray[Any]
"""Structured array [n] of `row_type`."""


def row_type(contract: Contract) -> np.dtype[Any]:
    """Return the type of a row: actions are an index, or float32 in [-1, 1]."""
    observation, action = contract.observation, contract.action
    obs = (observation.dtype, observation.shape)
    acted = ("i4", ()) if action.kind == "discrete" else ("f4", (action.count,))
    return np.dtype(
        [
            ("obs", *obs),
            ("action", *acted),
            ("reward", "f4"),
            ("discount", "f4"),
            ("next_obs", *obs),
            ("learner_step", "i4"),  # of the policy the first step was made with
            ("actor", "i4"),
            ("episode", "i4"),  # of that actor
        ],
        align=True,
    )


class Adder:
    """Joins the steps of one environment into rows of up to `n_step` steps."""

    def __init__(self, n_step: int, gamma: float, actor: int) -> None:
        self._n_step, self._powers = n_step, [gamma**power for power in range(n_step + 1)]
        self._open: list[tuple[Any, Any, float, int]] = []  # obs, action, reward, learner step
        self._actor = actor
        self.episode = 0

    def add(self, step: tuple[Any, Any, float, int], *, over: bool) -> int:
        """Take in a step (obs, action, reward, learner step); return how many rows are due."""
        self._open.append(step)
        return len(self._open) if over else int(len(self._open) == self._n_step)

    def take(self, rows: Rows, at: int, next_obs: Any, *, terminated: bool) -> None:
        """Write the oldest open step to rows[at], with all that follow it."""
        total, count = 0.0, len(self._open)
        for power, step in zip(self._powers, self._open, strict=False):
            total += power * step[2]
        obs, action, _, learner_step = self._open.pop(0)
        discount = 0.0 if terminated else self._powers[count]
        rows[at] = (
            *(obs, action, total, discount, next_obs, learner_step),
            *(self._actor, self.episode),
        )

    def drop(self) -> None:
        """Forget the open steps; another episode begins."""
        self._open.clear()
        self.episode += 1
