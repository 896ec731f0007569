"""The number of episodes that is asked for is enough, and not far more than enough."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quarl.stats.noninferiority import ALPHA, POWER, compare_means, episodes_by_formula
from quarl.stats.power import LARGEST_DRAW, episodes_needed
from tests.stats.test_noninferiority import mixed, normal


def test_normal_differences_need_about_what_the_formula_says() -> None:
    difference = normal(np.random.default_rng(0), 2000, 0)
    needed, formula = (
        episodes_needed(difference, 0.3, ALPHA),
        episodes_by_formula(0.3, float(difference.std(ddof=1)), ALPHA),
    )
    assert needed is not None
    assert formula is not None
    assert formula <= needed <= 1.2 * formula


def test_heavy_tails_need_more_and_then_pass() -> None:
    rng = np.random.default_rng(0)
    difference = mixed(rng, 2000, 0)
    needed, formula = (
        episodes_needed(difference, 0.35, ALPHA),
        episodes_by_formula(0.35, float(difference.std(ddof=1)), ALPHA),
    )
    assert needed is not None
    assert formula is not None
    assert needed > 1.1 * formula
    passed = [
        compare_means(np.zeros(needed), mixed(rng, needed, 0), 0.35, resamples=299).passed
        for _ in range(300)
    ]
    assert np.mean(passed) >= POWER - 3 * math.sqrt(POWER * (1 - POWER) / 300)


@pytest.mark.parametrize("loss", [0.0, 3.0])
def test_differences_without_spread_need_two_episodes(loss: float) -> None:
    assert episodes_needed(np.full(20, -loss), 1.0, ALPHA) == 2


def test_the_pilots_own_loss_does_not_count() -> None:
    difference = normal(np.random.default_rng(0), 500, 0)
    assert episodes_needed(difference, 0.3, ALPHA) == episodes_needed(difference - 7, 0.3, ALPHA)


def test_a_hopeless_margin_needs_no_number_of_episodes_and_a_fine_one_is_left_to_the_formula() -> (
    None
):
    difference = normal(np.random.default_rng(0), 500, 0)
    assert episodes_needed(difference, 1e-4, ALPHA) is None
    fine = episodes_needed(difference, 0.03, ALPHA)
    assert fine is not None
    assert fine > LARGEST_DRAW
