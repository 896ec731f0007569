"""Resamples: episodes drawn with replacement, a part at a time, so that the memory they take does
not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

PART_VALUES = 1 << 21  # drawn at once: 16 MB


def over_resamples(
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    count: int,
    resamples: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the statistic of each resample, [resamples].

    Args:
        statistic: takes rows [part, count] of episode numbers, gives one number a row.
        count: episodes of a resample, and those that are drawn from.
    """
    rows = max(1, PART_VALUES // count)
    parts = [
        statistic(rng.integers(count, size=(min(rows, resamples - done), count)))
        for done in range(0, resamples, rows)
    ]
    return np.concatenate(parts)
