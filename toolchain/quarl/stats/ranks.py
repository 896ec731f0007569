"""What ranks and the middle half say of paired returns: neither is moved by a few extreme episodes,
which the mean is.

In: returns of source and candidate on the same seeds. Out: frozen results. They are shown beside
the mean and decide nothing by themselves:
a release that ruins one episode in a hundred passes every one of them.
Wilcoxon's signed ranks (Biometrics 1, 1945; ties and zeros as in Hollander and Wolfe, Nonparametric
Statistical Methods, ch. 3), the shift of Hodges and Lehmann (Ann. Math. Statist. 34, 1963), the
interquartile mean (Agarwal et al., arXiv 2108.13264).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quarl.stats import special
from quarl.stats.noninferiority import ALPHA
from quarl.stats.resamples import over_resamples

RESAMPLES = 999  # nothing is decided by the interval
# pairs whose means are all formed: two million of them; of more episodes an even choice
MOST_WALSH = 2_000
_SEED = 0x52


@dataclass(frozen=True, slots=True)
class RankTest:
    """Paired rank-based non-inferiority; in return units."""

    better: int  # episodes in which the candidate's return is larger
    worse: int
    equal: int
    shift: float  # candidate - source, median of the pairwise means of the differences
    margin: float
    p_value: float  # signed ranks, one-sided, of "the shift is a loss of the margin or more"
    passed: bool


@dataclass(frozen=True, slots=True)
class MiddleChange:
    """How the mean of the middle half of the returns moved; a two-sided paired percentile bootstrap
    at 2 * alpha.
    """

    source: float  # return units
    candidate: float
    difference: float  # candidate - source
    lower: float
    upper: float


def compare_ranks(
    source: NDArray[np.float64],
    candidate: NDArray[np.float64],
    margin: float,
    *,
    alpha: float = ALPHA,
) -> RankTest:
    """Return whether the ranks of the paired differences prove that less than `margin` (return
    units) is lost; returns [n].
    """
    difference = candidate - source
    p_value = signed_rank_p_value(difference + margin)
    return RankTest(
        better=int((difference > 0).sum()),
        worse=int((difference < 0).sum()),
        equal=int((difference == 0).sum()),
        shift=_hodges_lehmann(difference),
        margin=margin,
        p_value=p_value,
        passed=p_value <= alpha,
    )


def compare_middles(
    source: NDArray[np.float64],
    candidate: NDArray[np.float64],
    *,
    alpha: float = ALPHA,
    resamples: int = RESAMPLES,
) -> MiddleChange:
    """Return how the interquartile mean of the returns [n] moved, pairs resampled together."""
    moved = over_resamples(
        lambda rows: _middle(candidate[rows]) - _middle(source[rows]),
        len(source),
        resamples,
        np.random.default_rng(_SEED),
    )
    before, after = interquartile_mean(source), interquartile_mean(candidate)
    lower, upper = (float(bound) for bound in np.quantile(moved, [alpha, 1 - alpha]))
    return MiddleChange(before, after, after - before, lower, upper)


def interquartile_mean(returns: NDArray[np.float64]) -> float:
    """Return the mean of the middle half of the returns [n]."""
    return float(_middle(returns[None])[0])


def signed_rank_p_value(values: NDArray[np.float64]) -> float:
    """Return the p-value of "the values [n] lie around zero or below", by normal approximation with
    correction for ties and continuity.
    """
    values = values[values != 0]
    count = len(values)
    if count == 0:
        return 1.0
    _, place, ties = np.unique(np.abs(values), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
    above = float(ranks[values > 0].sum())
    variance = (
        count * (count + 1) * (2 * count + 1) / 24
        - float((ties.astype(np.float64) ** 3 - ties).sum()) / 48
    )
    score = (above - count * (count + 1) / 4 - 0.5) / math.sqrt(variance)
    return float(special.ndtr(-score))


def _middle(returns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of the middle halves of rows [rows, n]."""
    cut = returns.shape[1] // 4
    kept: NDArray[np.float64] = np.sort(returns, axis=1)[:, cut : returns.shape[1] - cut].mean(
        axis=1
    )
    return kept


def _hodges_lehmann(difference: NDArray[np.float64]) -> float:
    if np.ptp(difference) == 0:
        return float(difference[0])
    taken = difference[:: -(-len(difference) // MOST_WALSH)]
    first, second = np.triu_indices(len(taken))
    return float(np.median((taken[first] + taken[second]) / 2))
