"""The replay: the newest transitions, sampled uniformly or by priority, and the pace of a run.

In: rows as actors make them. Out: batches of rows. `Pace` says who has to wait, so that each
transition is sampled as often as the recipe says, and never both sides at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quarl.actorq.transitions import Rows

PRIORITY_EXPONENT, LEAST_PRIORITY = 0.6, 1e-6


class Batch(NamedTuple):
    """Rows and where they lie."""

    rows: Rows  # [n]
    places: NDArray[np.int64]  # [n]
    weights: NDArray[np.float32]  # [n], importance weights; ones where sampling is uniform


@dataclass(slots=True)
class Pace:
    """Keeps sampled rows / inserted rows at `samples_per_insert`, within a buffer.

    The buffer is as large as one batch and one insert together, so that one side may always go on.
    """

    min_rows: int  # before anything is sampled
    samples_per_insert: float
    buffer: float  # sampled rows that either side may be ahead
    inserted: int = 0
    sampled: int = 0

    @property
    def ahead(self) -> float:
        """How many more rows may be sampled before samples and inserts are even."""
        return (self.inserted - self.min_rows) * self.samples_per_insert - self.sampled

    def may_insert(self) -> bool:
        """Whether the actors may go on."""
        return self.inserted < self.min_rows or self.ahead <= self.buffer

    def may_sample(self, count: int) -> bool:
        """Whether `count` rows may be sampled."""
        return self.inserted >= self.min_rows and self.ahead - count >= -self.buffer


class Ring:
    """The last `capacity` rows, each as likely as any other."""

    def __init__(self, capacity: int, dtype: np.dtype[Any]) -> None:
        self.rows: Rows = np.zeros(capacity, dtype)
        self.size = self.at = 0

    def add(self, rows: Rows) -> NDArray[np.int64]:
        """Take in rows over the oldest; return where they lie."""
        capacity = len(self.rows)
        rows = rows[-capacity:]
        places = (self.at + np.arange(len(rows))) % capacity
        end = self.at + len(rows)
        if end <= capacity:
            self.rows[self.at : end] = rows
        else:
            self.rows[places] = rows
        self.at, self.size = end % capacity, min(capacity, self.size + len(rows))
        return places

    def sample(self, count: int, rng: np.random.Generator) -> Batch:
        """Return `count` rows."""
        places = rng.integers(self.size, size=count)
        return Batch(self.rows[places], places, np.ones(count, np.float32))

    def reprioritize(self, places: NDArray[np.int64], errors: NDArray[Any]) -> None:
        """Ignore the errors."""


class PrioritizedRing(Ring):
    """The last `capacity` rows, each as likely as its last error is large (exponent 0.6)."""

    def __init__(self, capacity: int, dtype: np.dtype[Any], importance: float) -> None:
        super().__init__(capacity, dtype)
        self._importance = importance
        self._tree = SumTree(capacity)
        self._highest = 1.0

    def add(self, rows: Rows) -> NDArray[np.int64]:
        """Take in rows with the highest priority there was, so that each is seen soon."""
        places = super().add(rows)
        self._tree.set(places, np.full(len(places), self._highest))
        return places

    def sample(self, count: int, rng: np.random.Generator) -> Batch:
        """Return `count` rows, one from each of as many equal shares of the priorities."""
        total = self._tree.total
        marks = (np.arange(count) + rng.random(count)) * (total / count)
        places = np.minimum(self._tree.find(marks), self.size - 1)
        chances = np.maximum(self._tree.get(places), LEAST_PRIORITY) / total
        weights = (self.size * chances) ** -self._importance
        return Batch(self.rows[places], places, (weights / weights.max()).astype(np.float32))

    def reprioritize(self, places: NDArray[np.int64], errors: NDArray[Any]) -> None:
        """Give rows the priority of their errors."""
        priorities = (np.abs(errors) + LEAST_PRIORITY) ** PRIORITY_EXPONENT
        self._highest = max(self._highest, float(priorities.max()))
        self._tree.set(places, priorities)

    @property
    def priorities(self) -> NDArray[np.float64]:
        """float64 [size]: the priority of each row, for a checkpoint."""
        return self._tree.get(np.arange(self.size))

    def restore(self, priorities: NDArray[np.float64]) -> None:
        """Take the priorities of a checkpoint."""
        self._tree.set(np.arange(len(priorities)), priorities)
        self._highest = max(1.0, float(priorities.max(initial=0.0)))


class SumTree:
    """Non-negative numbers by place, and the place under each mark on their running sum."""

    def __init__(self, capacity: int) -> None:
        self._depth = max(1, (capacity - 1).bit_length())
        self._leaves = 1 << self._depth
        self._sums = np.zeros(2 * self._leaves)

    @property
    def total(self) -> float:
        """The sum of all."""
        return float(self._sums[1])

    def get(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the numbers of these places."""
        numbers: NDArray[np.float64] = self._sums[places + self._leaves]
        return numbers

    def set(self, places: NDArray[np.int64], numbers: NDArray[np.float64]) -> None:
        """Set the numbers of these places; of a place named twice the last one counts."""
        nodes = places + self._leaves
        self._sums[nodes] = numbers
        for _ in range(self._depth):
            nodes = np.unique(nodes >> 1)
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]

    def find(self, marks: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return for each mark from 0 to the total the place whose span holds it."""
        nodes = np.ones(len(marks), np.int64)
        left = marks.copy()
        for _ in range(self._depth):
            nodes *= 2
            below = self._sums[nodes]
            goes_right = left >= below
            left -= np.where(goes_right, below, 0.0)
            nodes += goes_right
        return nodes - self._leaves
