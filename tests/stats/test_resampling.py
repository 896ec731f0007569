"""Resampled intervals hold what they promise, and do not depend on the order of policies."""

from __future__ import annotations

import numpy as np
import pytest

from quarl.stats.resampling import (
    mean_change,
    middle_change,
    paired_change,
    rank_correlation,
    relative_error,
)

rng = np.random.default_rng


@pytest.mark.parametrize(
    ("source", "candidate", "error"),
    [([100.0, 100], [90.0, 90], 10), ([-100.0], [-110.0], 10), ([50.0], [55.0], -10)],
)
def test_the_relative_error_is_what_is_lost_whatever_the_sign(
    source: list[float], candidate: list[float], error: float
) -> None:
    assert relative_error(np.array(source), np.array(candidate)) == pytest.approx(error)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        random = rng(seed)
        source = random.normal(100, 20, 60)
        candidate = source - 5 + random.normal(0, 10, 60)
        change = paired_change(source, candidate)
        covered += change.low <= 100 * 5 / source.mean() <= change.high
    assert covered / 200 == pytest.approx(0.95, abs=0.04)


def test_equal_returns_lose_nothing_for_certain() -> None:
    returns = rng(0).normal(100, 20, 50)
    change = paired_change(returns, returns)
    assert (change.percent, change.low, change.high) == (0, 0, 0)


def test_the_middle_half_of_the_policies_is_what_is_averaged() -> None:
    source = np.full(10, 100.0)
    pairs = [(source, source - loss) for loss in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 90.0)]
    assert middle_change(pairs).percent == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert mean_change(pairs).percent == pytest.approx((21 + 90) / 8)
    assert middle_change(pairs[:2]).percent == pytest.approx(0.5)


@pytest.mark.long
def test_a_perfect_order_has_a_correlation_of_one() -> None:
    x = np.arange(12.0)
    found = rank_correlation(x, np.exp(x))
    assert (found.value, found.points) == (pytest.approx(1), 12)
    assert found.low > 0.9
    noise = rank_correlation(x, rng(1).normal(size=12))
    assert noise.low < 0 < noise.high
    assert np.isnan(rank_correlation(x, np.zeros(12)).value)
