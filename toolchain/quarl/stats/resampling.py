"""Intervals by resampling: of what one policy lost, of many policies together, of a rank
correlation.

In: returns of the same episodes, or one number a policy. Out: frozen estimates with 95 % intervals.
Many policies are summed up by the interquartile mean with a stratified bootstrap (Agarwal et al.,
arXiv 2108.13264): episodes are resampled within each policy, pairs together, and the mean of the
middle half of the policies is taken anew each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from quarl.stats.resamples import over_resamples

RESAMPLES = 2_000
LEVEL = 0.95
_SEED = 0x5D


@dataclass(frozen=True, slots=True)
class Change:
    """What was lost, in % of the source's mean return; negative is a gain."""

    percent: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rank correlation."""

    value: float
    low: float
    high: float
    points: int


Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Returns of source and candidate on the same episodes."""


def relative_error(source: NDArray[np.float64], candidate: NDArray[np.float64]) -> float:
    """Return (source - candidate) / |source| of the means, in %, as QuaRL defines it."""
    mean = float(source.mean())
    return 100 * (mean - float(candidate.mean())) / max(abs(mean), 1e-9)


def paired_change(source: NDArray[np.float64], candidate: NDArray[np.float64]) -> Change:
    """Return what the candidate lost on the episodes [n] of both."""
    drawn = _resampled(source, candidate, np.random.default_rng(_SEED))
    low, high = _interval(drawn)
    return Change(relative_error(source, candidate), low, high)


def middle_change(pairs: Sequence[Pair]) -> Change:
    """Return the interquartile mean over policies of what each lost, with its interval."""
    rng = np.random.default_rng(_SEED)
    exact = np.array([[relative_error(*pair)] for pair in pairs])
    drawn = np.stack([_resampled(*pair, rng) for pair in pairs])
    low, high = _interval(_middle(drawn))
    return Change(float(_middle(exact)[0]), low, high)


def mean_change(pairs: Sequence[Pair]) -> Change:
    """Return the mean over policies of what each lost, which is what QuaRL's tables give."""
    rng = np.random.default_rng(_SEED)
    drawn = np.stack([_resampled(*pair, rng) for pair in pairs]).mean(axis=0)
    low, high = _interval(drawn)
    return Change(float(np.mean([relative_error(*pair) for pair in pairs])), low, high)


def rank_correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> Correlation:
    """Return the rank correlation of points [n], with the interval of resampled points."""
    rng = np.random.default_rng(_SEED)
    drawn = over_resamples(
        lambda rows: np.array([_spearman(x[row], y[row]) for row in rows]), len(x), RESAMPLES, rng
    )
    low, high = _interval(drawn[np.isfinite(drawn)])
    return Correlation(_spearman(x, y), low, high, len(x))


def _resampled(
    source: NDArray[np.float64], candidate: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    size = np.maximum(abs(float(source.mean())), 1e-9)
    return over_resamples(
        lambda rows: 100 * (source[rows].mean(axis=1) - candidate[rows].mean(axis=1)) / size,
        len(source),
        RESAMPLES,
        rng,
    )


def _middle(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the middle half of columns [policies, draws]; of fewer than four
    policies the mean.
    """
    cut = values.shape[0] // 4
    ordered = np.sort(values, axis=0)
    return np.asarray(ordered[cut : values.shape[0] - cut].mean(axis=0))


def _interval(drawn: NDArray[np.float64]) -> tuple[float, float]:
    if not drawn.size:
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    ranks = stats.rankdata(x), stats.rankdata(y)
    return float(np.corrcoef(*ranks)[0, 1])
