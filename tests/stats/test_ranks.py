"""Ranks and the middle half against SciPy's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from quarl.stats.intervals import quantile_interval, rate_interval
from quarl.stats.noninferiority import ALPHA
from quarl.stats.ranks import (
    compare_middles,
    compare_ranks,
    interquartile_mean,
    signed_rank_p_value,
)

Returns = NDArray[np.float64]

VALUES = (
    st.lists(st.integers(-20, 20).map(float), min_size=8, max_size=60)
    .map(np.array)
    .filter(lambda values: bool((values != 0).any()))
)


@given(VALUES)
def test_the_signed_ranks_are_those_of_scipy_with_ties_and_zeros(values: Returns) -> None:
    other = stats.wilcoxon(values, alternative="greater", method="approx", correction=True)
    mine = signed_rank_p_value(values)
    # SciPy takes half a step towards the middle on either side of it, which is no bound below the
    # middle
    assert (
        mine == pytest.approx(float(other.pvalue))
        if mine < 0.5
        else mine >= float(other.pvalue) - 1e-9
    )


@given(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=40).map(np.array))
def test_the_interquartile_mean_is_that_of_scipy(returns: Returns) -> None:
    assert interquartile_mean(returns) == pytest.approx(stats.trim_mean(returns, 0.25))


def test_the_shift_is_the_median_of_the_pairwise_means() -> None:
    difference = np.array([1.0, 5.0, -2.0, 0.0])
    means = [(difference[i] + difference[j]) / 2 for i in range(4) for j in range(i, 4)]
    result = compare_ranks(np.zeros(4), difference, 1.0)
    assert result.shift == pytest.approx(float(np.median(means)))
    assert (result.better, result.worse, result.equal) == (2, 1, 1)


def test_equal_returns_prove_every_margin_and_a_constant_loss_none_below_it() -> None:
    returns = np.random.default_rng(0).normal(0, 1, 40)
    assert compare_ranks(returns, returns, 0.1).passed
    assert not compare_ranks(returns, returns - 1, 1.0).passed
    assert compare_ranks(returns, returns - 1, 1.1).passed


def test_ranks_and_the_middle_half_do_not_see_a_rare_catastrophe() -> None:
    """Why they decide nothing by themselves."""
    source = np.random.default_rng(0).normal(500, 5, 400)
    candidate = np.where(np.arange(400) % 50 == 0, 0.0, source)
    assert compare_ranks(source, candidate, 1.0).passed
    assert compare_middles(source, candidate).difference == pytest.approx(0, abs=0.5)


def test_the_middle_change_stays_within_its_interval() -> None:
    rng = np.random.default_rng(1)
    source = rng.normal(0, 1, 200)
    change = compare_middles(source, source - 0.5 + rng.normal(0, 0.1, 200))
    assert change.lower < change.difference < change.upper < 0


@pytest.mark.parametrize(("failures", "count"), [(0, 50), (1, 50), (25, 50), (50, 50)])
def test_the_interval_of_a_rate_is_that_of_clopper_and_pearson(failures: int, count: int) -> None:
    other = stats.binomtest(failures, count).proportion_ci(1 - 2 * ALPHA, method="exact")
    assert rate_interval(failures, count) == pytest.approx((other.low, other.high))


@pytest.mark.parametrize("count", [60, 200])
def test_the_interval_of_a_quantile_holds_it_as_often_as_it_says(count: int) -> None:
    rng = np.random.default_rng(3)
    held = []
    for _ in range(2000):
        lower, upper = quantile_interval(rng.normal(0, 1, count), 0.1)
        assert lower is not None
        assert upper is not None
        held.append(lower <= stats.norm.ppf(0.1) <= upper)
    assert np.mean(held) >= 1 - 2 * ALPHA - 0.02


def test_few_episodes_bound_a_low_quantile_on_one_side_only() -> None:
    lower, upper = quantile_interval(np.arange(10.0), 0.1)
    assert lower is None
    assert upper == 2.0 or upper == 3.0
