"""Transitions over several steps, made from lanes side by side, and the store a learner draws them
from.

Goes in: one step of all lanes at a time. Comes out: batches of (observation, action, reward of n
steps, discount, observation after them).
A transition ends with its episode. Where that was only cut off by the clock, the value of its last
observation still counts.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Batch(NamedTuple):
    """Transitions, one a row."""

    obs: NDArray[Any]  # [n, *shape]
    action: NDArray[np.int32]  # [n]
    reward: NDArray[np.float32]  # [n], the discounted sum over the steps between
    discount: NDArray[np.float32]  # [n], of the value of next_obs; 0 where the episode ended
    next_obs: NDArray[Any]  # [n, *shape]


class _Step(NamedTuple):
    obs: NDArray[Any]
    action: NDArray[np.int32]
    reward: NDArray[np.float32]
    next_obs: NDArray[Any]  # before a restart
    terminated: NDArray[np.bool_]
    over: NDArray[np.bool_]


class Replay:
    """The last `capacity` transitions of up to `n_step` steps each."""

    def __init__(
        self, capacity: int, obs_shape: tuple[int, ...], obs_dtype: Any, n_step: int, gamma: float
    ) -> None:
        self._rows = Batch(
            np.zeros((capacity, *obs_shape), obs_dtype),
            np.zeros(capacity, np.int32),
            np.zeros(capacity, np.float32),
            np.zeros(capacity, np.float32),
            np.zeros((capacity, *obs_shape), obs_dtype),
        )
        self._gamma = gamma
        self._window: deque[_Step] = deque(maxlen=n_step)
        self._n_step = n_step
        self._next = 0
        self.size = 0

    def add(
        self,
        obs: NDArray[Any],
        action: NDArray[Any],
        reward: NDArray[Any],
        next_obs: NDArray[Any],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
    ) -> None:
        """Take in one step of all lanes; `next_obs` is the observation before a lane restarts."""
        step = _Step(
            obs,
            action.astype(np.int32),
            reward.astype(np.float32),
            next_obs,
            terminated,
            terminated | truncated,
        )
        self._window.append(step)
        if len(self._window) < self._n_step:
            return
        first = self._window[0]
        total, discount = first.reward.copy(), np.where(first.terminated, 0.0, self._gamma)
        after, open_lanes = first.next_obs.copy(), ~first.over
        for power, step in enumerate(list(self._window)[1:], start=1):
            total[open_lanes] += np.float32(self._gamma**power) * step.reward[open_lanes]
            after[open_lanes] = step.next_obs[open_lanes]
            discount[open_lanes] = np.where(step.terminated, 0.0, self._gamma ** (power + 1))[
                open_lanes
            ]
            open_lanes &= ~step.over
        self._store(Batch(first.obs, first.action, total, discount.astype(np.float32), after))

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """Return `count` transitions, each as likely as any other."""
        index = rng.integers(self.size, size=count)
        rows = self._rows
        return Batch(
            rows.obs[index],
            rows.action[index],
            rows.reward[index],
            rows.discount[index],
            rows.next_obs[index],
        )

    def latest(self, count: int) -> NDArray[Any]:
        """Return the observations [n, *shape] of the last `count` transitions, or of all there
        are.
        """
        count = min(count, self.size)
        obs: NDArray[Any] = self._rows.obs[
            (self._next - count + np.arange(count)) % len(self._rows.obs)
        ]
        return obs

    def _store(self, rows: Batch) -> None:
        capacity = len(self._rows.action)
        place = (self._next + np.arange(len(rows.action))) % capacity
        for column, values in zip(self._rows, rows, strict=True):
            column[place] = values
        self._next = (self._next + len(rows.action)) % capacity
        self.size = min(capacity, self.size + len(rows.action))
