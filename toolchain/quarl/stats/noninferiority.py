"""Does the candidate still play as well as its source: paired tests of the mean return, of the
failure rate and of the bad episodes.

In: returns or failures of both on the same seeds, and the margin that may be lost. Out: frozen
results with every number named.
Non-inferior means that the whole one-sided confidence interval lies within the margin; the burden
of proof is on the candidate.
Mean: the most careful of three paired intervals, t, t corrected for skewness (Hall, J. R. Statist.
    Soc. B 54, 1992) and BCa bootstrap,
because losses by quantisation are often rare and large, and t alone lets them pass twice as often
as it says.
Failure rate: an exact unconditional test of two paired proportions (ordered by Tango's score,
Statistics in Medicine 17, 1998; unconditional as Hsueh, Liu and Chen, Biometrics 57, 2001), because
a normal approximation lets rare failures pass.
See toolchain/docs/gate.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.stats import special
from quarl.stats.outcomes import FailureTest, MeanTest
from quarl.stats.resamples import over_resamples

ALPHA = 0.05  # one-sided: how often a candidate that loses exactly the margin may pass
# how often an equal candidate should pass, for the numbers of episodes that are suggested
POWER = 0.9
RESAMPLES = 9_999
QUANTILE_RESAMPLES = 1_999  # a quantile decides nothing so fine, and each one is a sort
MOST_KEPT = 4_096  # exact tests whose answer is kept: look, plan and verdict ask the same
_SEED = 0x51  # of the resampling, so that the same returns give the same verdict
MOST_EPISODES = 1_000_000  # beyond that the suggestion is "no number of episodes"


@dataclass(frozen=True, slots=True)
class QuantileChange:
    """How a low quantile of the returns moved; a two-sided paired percentile bootstrap at 2 *
    alpha.
    """

    share: float  # 0.1: one episode in ten is worse
    source: float  # return units
    candidate: float
    difference: float  # candidate - source
    lower: float
    upper: float


def compare_means(
    source: NDArray[np.float64],
    candidate: NDArray[np.float64],
    margin: float,
    *,
    alpha: float = ALPHA,
    resamples: int = RESAMPLES,
    largest_loss: float | None = None,
) -> MeanTest:
    """Return whether the candidate's mean return is at most `margin` (return units, >= 0) below the
    source's; returns [n >= 2], paired.

    Args:
        largest_loss: what one episode may lose, in return units. With it the bound makes room for
            episodes lost so seldom that none was met: a share of 1 - alpha ** (1 / n) stays unseen
            with probability alpha. None: such
                losses are left to the failure rate.
    """
    difference = candidate - source
    count = len(difference)
    mean, spread = float(difference.mean()), float(difference.std(ddof=1))
    if np.ptp(difference) == 0:
        spread, bounds, uppers = 0.0, (mean, mean, mean), (mean, mean, mean)
        p_value, p_gain = float(mean < -margin), float(mean > margin)
    else:
        error = spread / math.sqrt(count)
        reach = float(special.stdtrit(count - 1, 1 - alpha)) * error
        bootstrap_lower, bootstrap_upper = _bca_bounds(difference, alpha, resamples)
        bounds = mean - reach, _skew_lower(difference, alpha), bootstrap_lower
        uppers = mean + reach, -_skew_lower(-difference, alpha), bootstrap_upper
        p_value = float(special.stdtr(count - 1, -(mean + margin) / error))
        p_gain = float(special.stdtr(count - 1, (mean - margin) / error))
    unseen_lower = (
        None if largest_loss is None else mean - largest_loss * -math.expm1(math.log(alpha) / count)
    )
    lower = min(bounds) if unseen_lower is None else min(*bounds, unseen_lower)
    return MeanTest(
        episodes=count,
        mean_source=float(source.mean()),
        mean_candidate=float(candidate.mean()),
        mean_difference=mean,
        std_difference=spread,
        margin=margin,
        alpha=alpha,
        t_lower=bounds[0],
        skew_lower=bounds[1],
        bootstrap_lower=bounds[2],
        unseen_lower=unseen_lower,
        lower=lower,
        upper=max(uppers),
        p_value=p_value,
        equivalence_p_value=max(p_value, p_gain),
        provable_margin=_provable_margin(count, spread, alpha),
        episodes_needed=episodes_by_formula(margin, spread, alpha),
        passed=lower >= -margin,
    )


def compare_failures(
    source_failed: NDArray[np.bool_],
    candidate_failed: NDArray[np.bool_],
    margin: float,
    *,
    alpha: float = ALPHA,
) -> FailureTest:
    """Return whether the candidate's failure rate is less than `margin` (0..1) above the source's;
    flags [n] are paired.
    """
    count = len(source_failed)
    only_candidate = int((candidate_failed & ~source_failed).sum())
    only_source = int((source_failed & ~candidate_failed).sum())
    p_value = failure_p_value(count, only_candidate, only_source, margin)
    upper = _failure_upper(count, only_candidate, only_source, alpha)
    return FailureTest(
        episodes=count,
        failures_source=int(source_failed.sum()),
        failures_candidate=int(candidate_failed.sum()),
        only_candidate=only_candidate,
        only_source=only_source,
        rate_difference=(only_candidate - only_source) / count,
        margin=margin,
        alpha=alpha,
        upper=min(upper, margin)
        if p_value <= alpha
        else max(upper, margin),  # found to 1e-4, on the side of the decision
        p_value=p_value,
        rise_p_value=rise_p_value(count, only_candidate, only_source, margin),
        episodes_needed=failure_episodes_needed(
            margin, (only_candidate + only_source) / count, alpha
        ),
        passed=p_value <= alpha,
    )


def compare_quantiles(
    source: NDArray[np.float64],
    candidate: NDArray[np.float64],
    share: float = 0.1,
    *,
    alpha: float = ALPHA,
    resamples: int = QUANTILE_RESAMPLES,
) -> QuantileChange:
    """Return how the quantile below which `share` of the returns [n] lie has moved, pairs resampled
    together.
    """
    moved = over_resamples(
        lambda rows: (
            np.quantile(candidate[rows], share, axis=1) - np.quantile(source[rows], share, axis=1)
        ),
        len(source),
        resamples,
        np.random.default_rng(_SEED),
    )
    before, after = float(np.quantile(source, share)), float(np.quantile(candidate, share))
    lower, upper = (float(bound) for bound in np.quantile(moved, [alpha, 1 - alpha]))
    return QuantileChange(share, before, after, after - before, lower, upper)


@lru_cache(MOST_KEPT)
def failure_p_value(count: int, only_candidate: int, only_source: int, margin: float) -> float:
    """Return the exact p-value of "the failure rate rises by `margin` or more", the largest over
    all shares of discordant pairs.

    Of `count` pairs `only_candidate` fail with the candidate alone and `only_source` with the
    source alone.
    """
    if not 0 < margin < 1:
        return 1.0 if margin <= 0 else 0.0
    # the pairs of counts that speak at least as much for the candidate
    limit = tango_score(np.float64(only_candidate), np.float64(only_source), count, margin)
    return _largest(_chances(count, margin, float(limit) + 1e-9), margin)


def margin_is_shown(
    count: int, only_candidate: int, only_source: int, margin: float, alpha: float
) -> bool:
    """Return whether `failure_p_value` is at most alpha; a few gain rates tell soon where it is
    not.
    """
    if 0 < margin < 1:
        limit = tango_score(np.float64(only_candidate), np.float64(only_source), count, margin)
        few = _gain_rates(margin)[::8]
        if _chances(count, margin, float(limit) + 1e-9)(few).max() > alpha:
            return False
    return failure_p_value(count, only_candidate, only_source, margin) <= alpha


@lru_cache(MOST_KEPT)
def rise_p_value(count: int, only_candidate: int, only_source: int, margin: float) -> float:
    """Return the exact p-value of "the failure rate rises by `margin` or less": small where a
    larger rise is shown; pairs as in `failure_p_value`.
    """
    if not 0 < margin < 1:
        return 1.0
    # all pairs of counts but those that speak more for the candidate
    limit = tango_score(np.float64(only_candidate), np.float64(only_source), count, margin)
    milder = _chances(count, margin, float(limit) - 1e-9)
    return _largest(lambda gain_rates: 1 - milder(gain_rates), margin)


_Rates: TypeAlias = NDArray[np.float64]


def _chances(count: int, margin: float, limit: float) -> Callable[[_Rates], _Rates]:
    """Return how likely scores up to `limit` are, as a function of gain rates [rates]: the source
    alone fails with such a rate, the candidate alone with that rate + margin.
    """
    gains = np.arange(count + 1)
    harms = _largest_harm(gains, count, margin, limit)
    log_ways = (
        special.gammaln(count + 1) - special.gammaln(gains + 1) - special.gammaln(count - gains + 1)
    )

    def chances(gain_rates: _Rates) -> _Rates:
        column = gain_rates[:, None]
        weights = np.exp(
            log_ways + special.xlogy(gains, column) + special.xlog1py(count - gains, -column)
        )
        rate, gain = np.nonzero((weights > 1e-15) & (harms >= 0))
        # among the pairs that are no gains
        harm_shares = np.minimum((gain_rates + margin) / (1 - gain_rates), 1)
        likely = weights[rate, gain] * special.bdtr(
            harms[gain].astype(np.float64), count - gain, harm_shares[rate]
        )
        return np.bincount(rate, likely, len(gain_rates)).astype(np.float64)

    return chances


def _largest(chances: Callable[[_Rates], _Rates], margin: float) -> float:
    """Return the largest chance over all gain rates; both rates together are at most 1."""
    rates = _gain_rates(margin)
    coarse = chances(rates)
    top = int(coarse.argmax())
    fine = chances(np.linspace(rates[max(top - 1, 0)], rates[min(top + 1, len(rates) - 1)], 17))
    return float(min(1.0, max(coarse.max(), fine.max())))


def _gain_rates(margin: float) -> _Rates:
    return np.asarray((1 - margin) / 2 * np.linspace(0, 1, 65) ** 2)  # small ones matter most


def tango_score(
    harms: NDArray[Any] | np.float64, gains: NDArray[Any] | np.float64, count: int, margin: float
) -> NDArray[np.float64]:
    """Return Tango's score of (harms, gains) under a rise of `margin`: the smaller, the better for
    the candidate.
    """
    b = -harms - gains + (2 * count - harms + gains) * margin
    gain_rate = (np.sqrt(b * b + 8 * count * gains * margin * (1 - margin)) - b) / (4 * count)
    variance = count * (2 * gain_rate + margin * (1 - margin))
    return np.asarray((harms - gains - count * margin) / np.sqrt(variance))


def _largest_harm(
    gains: NDArray[np.int64], count: int, margin: float, limit: float
) -> NDArray[np.int64]:
    """Return, for each number of gains, the largest number of harms whose score is at most `limit`;
    -1 where there is none.
    """
    low, high = np.full(len(gains), -1), count - gains  # the score rises with the harms
    while (low < high).any():
        middle = (low + high + 1) // 2
        fits = (middle < 0) | (tango_score(np.maximum(middle, 0), gains, count, margin) <= limit)
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    return low


@lru_cache(MOST_KEPT)
def _failure_upper(count: int, only_candidate: int, only_source: int, alpha: float) -> float:
    low, high = max((only_candidate - only_source) / count, 0.0), 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        if margin_is_shown(count, only_candidate, only_source, middle, alpha):
            high = middle
        else:
            low = middle
    return high


def skew_lower_bounds(
    differences: NDArray[np.float64],
    means: NDArray[np.float64],
    spreads: NDArray[np.float64],
    alpha: float,
) -> NDArray[np.float64]:
    """Return the bounds of rows [rows, n] by Hall's transformation of t, which is cubic in the
    skewness and can be inverted exactly.
    """
    count = differences.shape[1]
    scaled = (differences - means[:, None]) / spreads[:, None]
    skewness = (scaled * scaled * scaled).mean(axis=1)  # a power takes ten times as long
    shift = float(special.stdtrit(count - 1, 1 - alpha)) / math.sqrt(count)
    divisor = np.where(np.abs(skewness) > 1e-6, skewness, 1.0)
    corrected = 3 / divisor * (np.cbrt(1 + divisor * (shift - divisor / (6 * count))) - 1)
    return np.asarray(means - spreads * np.where(np.abs(skewness) > 1e-6, corrected, shift))


def _skew_lower(difference: NDArray[np.float64], alpha: float) -> float:
    mean, spread = np.array([difference.mean()]), np.array([difference.std(ddof=1)])
    return float(skew_lower_bounds(difference[None], mean, spread, alpha)[0])


def _bca_bounds(
    difference: NDArray[np.float64], alpha: float, resamples: int
) -> tuple[float, float]:
    """Return the bias-corrected and accelerated bootstrap bounds of the mean, one-sided at alpha
    each (Efron, JASA 82, 1987).
    """
    means = over_resamples(
        lambda rows: difference[rows].mean(axis=1),
        len(difference),
        resamples,
        np.random.default_rng(_SEED),
    )
    mean = difference.mean()
    bias = float(special.ndtri((means < mean).mean() + (means == mean).mean() / 2))
    if not math.isfinite(bias):
        return float(difference.min()), float(difference.max())
    deviation = difference - mean  # proportional to what leaving one pair out does to the mean
    acceleration = float((deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5))
    moved = bias + special.ndtri(np.array([alpha, 1 - alpha]))
    lower, upper = np.quantile(means, special.ndtr(bias + moved / (1 - acceleration * moved)))
    return float(lower), float(upper)


def _provable_margin(count: int, spread: float, alpha: float) -> float:
    if spread == 0:
        return 0.0
    # the shift of a noncentral t that exceeds its critical value with POWER (Johnson and Welch,
    # Biometrika 31, 1940)
    critical = float(special.stdtrit(count - 1, 1 - alpha))
    shift = critical + float(special.ndtri(POWER)) * math.sqrt(1 + critical**2 / (2 * (count - 1)))
    return shift * spread / math.sqrt(count)


def episodes_by_formula(margin: float, spread: float, alpha: float) -> int | None:
    """Return how many normal differences of that spread an equal policy needs to prove `margin` by
    t with POWER; None: over a million.
    """
    if spread == 0:
        return 2
    if margin <= 0:
        return None
    root = float(special.ndtri(1 - alpha) + special.ndtri(POWER)) * spread / margin
    if root > math.sqrt(MOST_EPISODES):
        return None
    count = max(2, math.floor(root**2))  # never more than t needs
    while _provable_margin(count, spread, alpha) > margin:
        count += 1
    return count


def failure_episodes_needed(margin: float, discordant: float, alpha: float) -> int | None:
    """Return the number by the normal approximation, never less than a perfect score needs."""
    if not 0 < margin < 1:
        return None
    perfect = math.log(alpha) / math.log1p(-margin)
    usual = (special.ndtri(1 - alpha) + special.ndtri(POWER)) ** 2 * discordant / margin**2
    needed = math.ceil(max(perfect, usual))
    return needed if needed <= MOST_EPISODES else None
