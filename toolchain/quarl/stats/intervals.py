"""Exact intervals of one actor's tail: of a failure rate and of a low quantile, without any
assumption about the returns.

In: counts or returns. Out: (lower, upper), two-sided with error 2 * alpha, alpha to each side.
Clopper and Pearson (Biometrika 26, 1934) for the rate; order statistics (David and Nagaraja, Order
Statistics, 7.1) for the quantile.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quarl.stats import special
from quarl.stats.noninferiority import ALPHA


def rate_interval(failures: int, count: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Return the exact interval of a failure rate (0..1) of which `failures` of `count` episodes
    are a sample.
    """
    lower = (
        0.0 if failures == 0 else float(special.betaincinv(failures, count - failures + 1, alpha))
    )
    upper = (
        1.0
        if failures == count
        else float(special.betaincinv(failures + 1, count - failures, 1 - alpha))
    )
    return lower, upper


def quantile_interval(
    returns: NDArray[np.float64], share: float, alpha: float = ALPHA
) -> tuple[float | None, float | None]:
    """Return two of the returns [n] between which the quantile lies; None for a side that so few
    episodes cannot bound.
    """
    count = len(returns)
    ordered = np.sort(returns)
    at_most = special.bdtr(
        np.arange(count + 1, dtype=np.float64), count, share
    )  # P(at most k returns lie below the quantile)
    below = int(
        np.searchsorted(at_most, alpha, side="right")
    )  # P(fewer than `below` lie below it) <= alpha
    above = int(
        np.searchsorted(at_most, 1 - alpha, side="left")
    )  # P(more than `above` lie below it) <= alpha
    return (float(ordered[below - 1]) if below > 0 else None), (
        float(ordered[above]) if above < count else None
    )
