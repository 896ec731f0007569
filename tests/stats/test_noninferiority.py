"""A candidate that has lost the margin passes at most one time in twenty, and an equal one passes
when it was given enough episodes.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from quarl.stats.noninferiority import (
    _SEED,
    ALPHA,
    POWER,
    _provable_margin,
    compare_failures,
    compare_means,
    compare_quantiles,
    failure_p_value,
)
from quarl.stats.ranks import interquartile_mean

Returns = NDArray[np.float64]

RETURNS = st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=40).map(np.array)


def flags(count: int, *failed: int) -> NDArray[np.bool_]:
    return np.isin(np.arange(count), failed)


def normal(rng: np.random.Generator, count: int, loss: float) -> Returns:
    return np.asarray(rng.normal(-loss, 1, count))


def skewed(rng: np.random.Generator, count: int, loss: float) -> Returns:
    """Most episodes lose nothing, some lose a lot: an exponential tail to the left."""
    return np.asarray(1 - loss - rng.exponential(1, count))


def mixed(rng: np.random.Generator, count: int, loss: float) -> Returns:
    """One episode in five falls into another course, up or down."""
    return np.asarray(
        np.where(rng.random(count) < 0.2, rng.normal(0, math.sqrt(5), count), 0) - loss
    )


def rare(rng: np.random.Generator, count: int, loss: float) -> Returns:
    """One episode in ten is a catastrophe that alone makes up the loss; t alone lets this pass 8 to
    14 times in a hundred.
    """
    return np.asarray(np.where(rng.random(count) < 0.1, -10 * loss, 0) + rng.normal(0, 0.01, count))


def pass_rate(
    make: object, loss: float, margin: float, releases: int, episodes: int, resamples: int
) -> float:
    assert callable(make)
    rng = np.random.default_rng(1)
    source = rng.normal(100, 20, episodes)
    passed = [
        compare_means(
            source, source + make(rng, episodes, loss), margin, resamples=resamples
        ).passed
        for _ in range(releases)
    ]
    return float(np.mean(passed))


@pytest.mark.parametrize("make", [normal, mixed, skewed, rare])
def test_a_release_that_loses_the_margin_seldom_passes(make: object) -> None:
    releases = 400
    noise = 3 * math.sqrt(ALPHA * (1 - ALPHA) / releases)
    assert (
        pass_rate(make, loss=0.5, margin=0.5, releases=releases, episodes=60, resamples=299)
        <= ALPHA + noise
    )


@pytest.mark.slow
@pytest.mark.parametrize("make", [normal, mixed, skewed, rare])
def test_of_two_thousand_releases_that_lose_the_margin_one_in_twenty_passes(make: object) -> None:
    releases = 2000
    noise = 3 * math.sqrt(ALPHA * (1 - ALPHA) / releases)
    assert (
        pass_rate(make, loss=0.3, margin=0.3, releases=releases, episodes=200, resamples=999)
        <= ALPHA + noise
    )


@pytest.mark.long
def test_an_equal_release_passes_with_the_number_of_episodes_it_was_told() -> None:
    rng = np.random.default_rng(0)
    pilot = compare_means(np.zeros(1000), normal(rng, 1000, 0), 0.35)
    assert pilot.episodes_needed is not None
    rate = pass_rate(
        normal, loss=0, margin=0.35, releases=400, episodes=pilot.episodes_needed, resamples=299
    )
    assert rate >= POWER - 3 * math.sqrt(POWER * (1 - POWER) / 400)


def test_the_provable_margin_is_what_the_t_test_proves_with_that_power() -> None:
    rng = np.random.default_rng(0)
    margin = _provable_margin(20, 1.0, ALPHA)
    samples = rng.normal(0, 1, (20_000, 20))
    lower = samples.mean(axis=1) - stats.t.ppf(1 - ALPHA, 19) * samples.std(
        axis=1, ddof=1
    ) / math.sqrt(20)
    assert (lower >= -margin).mean() == pytest.approx(POWER, abs=0.01)


def test_the_t_bound_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    source, candidate = rng.normal(10, 3, 30), rng.normal(10, 3, 30)
    result = compare_means(source, candidate, 1.0)
    other = stats.ttest_rel(candidate, source, alternative="greater")
    assert result.t_lower == pytest.approx(other.confidence_interval(1 - ALPHA).low)
    assert result.p_value == pytest.approx(
        stats.ttest_rel(candidate + 1.0, source, alternative="greater").pvalue
    )
    assert result.lower == min(result.t_lower, result.skew_lower, result.bootstrap_lower)


@pytest.mark.parametrize("make", [normal, skewed, rare])
def test_the_bootstrap_bound_is_that_of_scipy(make: object) -> None:
    assert callable(make)
    difference = make(np.random.default_rng(2), 80, 0.5)
    result = compare_means(np.zeros(80), difference, 1.0)
    other = stats.bootstrap(
        (difference,), np.mean, confidence_level=1 - ALPHA, alternative="greater", rng=_SEED
    )
    assert result.bootstrap_lower == pytest.approx(other.confidence_interval.low, rel=1e-9)


@given(RETURNS)
def test_the_interquartile_mean_is_that_of_scipy(returns: Returns) -> None:
    assert interquartile_mean(returns) == pytest.approx(stats.trim_mean(returns, 0.25))


@given(RETURNS, st.floats(0.01, 100))
def test_equal_returns_pass_every_margin(returns: Returns, margin: float) -> None:
    result = compare_means(returns, returns.copy(), margin)
    assert result.passed
    assert (result.lower, result.provable_margin, result.episodes_needed) == (0, 0, 2)


@pytest.mark.parametrize(("loss", "passed"), [(1.0, True), (1.5, True), (1.75, False)])
def test_a_constant_loss_is_judged_as_it_is(loss: float, passed: bool) -> None:
    source = np.arange(10.0)
    assert compare_means(source, source - loss, 1.5).passed is passed


@settings(deadline=None, max_examples=40)
@given(RETURNS, st.floats(0, 100), st.integers(0, 2**32 - 1))
def test_every_number_is_finite_and_a_larger_margin_never_turns_a_pass_into_a_failure(
    returns: Returns, margin: float, seed: int
) -> None:
    candidate = returns + np.random.default_rng(seed).choice(
        [0.0, 1e-9, -50.0], len(returns), p=[0.8, 0.1, 0.1]
    )
    result = compare_means(returns, candidate, margin, resamples=199)
    numbers = [
        result.t_lower,
        result.skew_lower,
        result.bootstrap_lower,
        result.lower,
        result.p_value,
        result.provable_margin,
        result.std_difference,
    ]
    assert all(map(math.isfinite, numbers))
    assert result.lower <= result.mean_difference + 1e-9
    assert compare_means(returns, candidate, margin + 1, resamples=199).passed >= result.passed


@settings(deadline=None, max_examples=20)
@given(RETURNS, st.integers(0, 2**32 - 1))
def test_the_order_of_the_pairs_changes_neither_mean_nor_t(returns: Returns, seed: int) -> None:
    rng = np.random.default_rng(seed)
    candidate, order = returns + rng.normal(0, 1, len(returns)), rng.permutation(len(returns))
    a, b = (
        compare_means(x, y, 1.0, resamples=99)
        for x, y in ((returns, candidate), (returns[order], candidate[order]))
    )
    assert a.t_lower == pytest.approx(b.t_lower, abs=1e-6)


def test_the_same_returns_give_the_same_verdict() -> None:
    rng = np.random.default_rng(3)
    source, candidate = rng.normal(size=50), rng.normal(size=50)
    assert compare_means(source, candidate, 1.0) == compare_means(source, candidate, 1.0)


@pytest.mark.long
@pytest.mark.parametrize(("count", "margin"), [(20, 0.1), (40, 0.05), (59, 0.05), (60, 0.1)])
def test_the_failure_test_errs_at_most_one_time_in_twenty_whatever_the_discordant_pairs(
    count: int, margin: float
) -> None:
    """Not simulated: the exact probability of passing under every null, summed over all
    outcomes.
    """
    harms, gains = np.meshgrid(np.arange(count + 1), np.arange(count + 1), indexing="ij")
    possible = harms + gains <= count
    worth = possible & (harms - gains <= count * margin)  # only these can pass
    p_values = np.ones_like(harms, np.float64)
    for harm, gain in zip(harms[worth], gains[worth], strict=True):
        if (
            stats.norm.cdf((harm - gain - count * margin) / math.sqrt(harm + gain + count * margin))
            < 0.3
        ):
            p_values[harm, gain] = failure_p_value(count, int(harm), int(gain), margin)
    passing = p_values <= ALPHA
    assert passing.any()
    for gain_rate in np.linspace(0, (1 - margin) / 2, 201):
        rates = [gain_rate + margin, gain_rate, max(1 - 2 * gain_rate - margin, 0)]
        counts = np.stack([harms, gains, count - harms - gains], axis=-1)[passing]
        assert stats.multinomial.pmf(counts, count, rates).sum() <= ALPHA + 2e-5


@pytest.mark.parametrize(("count", "passed"), [(298, False), (299, True)])
def test_a_perfect_score_needs_as_many_episodes_as_the_exact_binomial_says(
    count: int, passed: bool
) -> None:
    result = compare_failures(
        flags(count), flags(count), 0.01
    )  # 0.99 ** 299 is the first below 0.05
    assert result.passed is passed
    assert result.episodes_needed == 299
    assert result.p_value == pytest.approx(0.99**count)


def test_failures_are_counted_by_who_fails_alone() -> None:
    result = compare_failures(flags(200, 1, 2, 3), flags(200, 3, 4), 0.05)
    assert (
        result.failures_source,
        result.failures_candidate,
        result.only_candidate,
        result.only_source,
    ) == (3, 2, 1, 2)
    assert result.rate_difference == pytest.approx(-0.005)


@pytest.mark.long
@settings(deadline=None, max_examples=25)
@given(st.integers(10, 200), st.data())
def test_one_more_failure_never_helps_and_the_bound_stands_with_the_decision(
    count: int, data: st.DataObject
) -> None:
    harm = data.draw(st.integers(0, count // 3))
    gain = data.draw(st.integers(0, count // 3))
    margin = data.draw(st.floats(0.01, 0.3))
    better, worse = (failure_p_value(count, h, gain, margin) for h in (harm, harm + 1))
    assert better <= worse + 1e-12
    source = flags(count, *range(gain))
    result = compare_failures(source, flags(count, *range(gain, gain + harm)), margin)
    assert result.passed is (result.upper <= margin)
    assert result.upper >= result.rate_difference


@pytest.mark.long
def test_the_worst_share_of_discordant_pairs_is_found() -> None:
    """The grid over nuisance rates against one six times finer."""
    count, margin = 50, 0.08
    for harm, gain in [(0, 0), (1, 2), (3, 6)]:
        found = failure_p_value(count, harm, gain, margin)
        harms, gains = np.meshgrid(np.arange(count + 1), np.arange(count + 1), indexing="ij")
        p_values = [
            stats.multinomial.pmf(
                np.stack([harms, gains, count - harms - gains], -1),
                count,
                [rate + margin, rate, 1 - 2 * rate - margin],
            )
            for rate in np.linspace(0, (1 - margin) / 2 - 1e-12, 400)
        ]
        score = (harms - gains - count * margin) / np.sqrt(
            count * (2 * constrained(harms, gains, count, margin) + margin * (1 - margin))
        )
        at_least = (score <= score[harm, gain] + 1e-9) & (harms + gains <= count)
        assert found == pytest.approx(max(p[at_least].sum() for p in p_values), rel=0.002)


def constrained(
    harms: NDArray[np.int64], gains: NDArray[np.int64], count: int, margin: float
) -> Returns:
    """The likelihood's maximum over the rate of gains, by a fine search instead of the closed
    form.
    """
    rates = np.linspace(1e-9, (1 - margin) / 2 - 1e-9, 4001)
    with np.errstate(divide="ignore", invalid="ignore"):
        equal = np.maximum(count - harms - gains, 0)[..., None]
        likelihood = (
            harms[..., None] * np.log(rates + margin)
            + gains[..., None] * np.log(rates)
            + equal * np.log(np.maximum(1 - 2 * rates - margin, 1e-300))
        )
    return np.asarray(rates[likelihood.argmax(axis=-1)])


def test_a_moved_quantile_is_seen_where_the_mean_is_not() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(500, 1, 400)
    candidate = np.where(np.arange(400) % 8 == 0, 300, source)
    change = compare_quantiles(source, candidate)
    assert change.difference < -190
    assert change.upper < 0
    still = compare_quantiles(source, source)
    assert (still.difference, still.lower, still.upper) == (0, 0, 0)


def test_the_interquartile_mean_forgets_both_ends() -> None:
    assert interquartile_mean(np.array([-1e6, 1.0, 2.0, 3.0, 4.0, 1e6, 2.5, 2.5])) == pytest.approx(
        2.5
    )
