"""Where the control moves, int8 is held against the source's own spread, with a known error."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from quarl.stats.chaos import (
    SPREAD_ERROR,
    certain_rate_spread,
    certain_spread,
    chaotic_episodes_needed,
    remaining_alpha,
    spread_of,
)
from quarl.stats.noninferiority import ALPHA, POWER, compare_means, failure_p_value

SHARE = 0.2
Returns = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Returns]


def normal(rng: np.random.Generator, count: int) -> Returns:
    return rng.normal(0, 10, count)


def crashes(rng: np.random.Generator, count: int) -> Returns:
    """Two episodes in ten end in a crash, whoever plays."""
    return np.where(rng.random(count) < 0.2, -100.0, 0.0) + rng.normal(0, 5, count)


def heavy(rng: np.random.Generator, count: int) -> Returns:
    return 10 * rng.exponential(1, count)


def partly(rng: np.random.Generator, count: int) -> Returns:
    """Three episodes in ten take another course, the others are the same for all."""
    return np.where(rng.random(count) < 0.3, rng.normal(0, 20, count), 0.0)


DRAWS = [normal, crashes, heavy, partly]


def spread(draw: Draw) -> float:
    """How far two players of that law lie apart, from very many pairs."""
    rng = np.random.default_rng(9)
    return spread_of(draw(rng, 2_000_000) - draw(rng, 2_000_000))


def passes(draw: Draw, releases: int, episodes: int, loss: float) -> float:
    """Return the share of synthetic releases that pass relative to the control."""
    rng, own, error = np.random.default_rng(3), remaining_alpha(ALPHA, SHARE), SPREAD_ERROR * ALPHA
    passed = 0
    for _ in range(releases):
        source, control, int8 = (draw(rng, episodes) for _ in range(3))
        margin = SHARE * certain_spread(control - source, error)
        mean = compare_means(source, int8 - loss, margin, alpha=own, resamples=199)
        passed += mean.passed
    return passed / releases


def needed(draw: Draw) -> int:
    rng = np.random.default_rng(0)
    source, control, int8 = (draw(rng, 50_000) for _ in range(3))
    episodes = chaotic_episodes_needed(int8 - source, control - source, 0.0, SHARE, ALPHA)
    assert episodes is not None
    return episodes


@pytest.mark.parametrize("draw", DRAWS)
def test_a_release_that_loses_the_share_of_the_spread_seldom_passes(draw: Draw) -> None:
    count = 300
    passed = passes(draw, count, episodes=200, loss=SHARE * spread(draw))
    assert passed <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / count)


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("episodes", [50, 300])
def test_of_two_thousand_chaotic_releases_that_lose_it_one_in_twenty_passes(
    draw: Draw, episodes: int
) -> None:
    assert passes(draw, 2000, episodes, loss=SHARE * spread(draw)) <= ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWS)
def test_nine_in_ten_of_two_thousand_pass_that_are_as_chaotic_as_their_source(draw: Draw) -> None:
    assert passes(draw, 2000, needed(draw), loss=0) >= POWER


@pytest.mark.parametrize("draw", [normal, crashes])
def test_a_release_as_chaotic_as_its_source_passes_with_the_episodes_it_asks_for(
    draw: Draw,
) -> None:
    count = 200
    passed = passes(draw, count, needed(draw), loss=0)
    assert passed >= POWER - 3 * math.sqrt(POWER * (1 - POWER) / count)


@pytest.mark.long
@pytest.mark.parametrize("moved_share", [0.05, 0.3])
def test_a_rise_of_failures_by_the_share_of_its_spread_seldom_passes(moved_share: float) -> None:
    """2,000 releases, 400 episodes; int8 and control each change `moved_share` of the outcomes."""
    count, episodes = 2000, 400
    rise = SHARE * math.sqrt(moved_share)
    rng = np.random.default_rng(2)
    moved = rng.binomial(episodes, moved_share, count)
    both = rise + moved_share
    harms, gains, _ = rng.multinomial(
        episodes, [(both + rise) / 2, (both - rise) / 2, 1 - both], count
    ).T
    own, passed = remaining_alpha(ALPHA, SHARE), 0
    known: dict[tuple[int, int, int], bool] = {}
    for m, h, g in zip(moved.tolist(), harms.tolist(), gains.tolist(), strict=True):
        if (m, h, g) not in known:
            margin = SHARE * certain_rate_spread(m, episodes, SPREAD_ERROR * ALPHA)
            known[m, h, g] = (h - g) / episodes < margin and failure_p_value(
                episodes, h, g, margin
            ) <= own
        passed += known[m, h, g]
    assert passed / count <= ALPHA


def test_nothing_is_certain_of_a_control_that_never_moves_or_moved_once() -> None:
    assert certain_spread(np.zeros(100), 0.01) == 0
    assert certain_spread(np.eye(1, 100)[0], 0.01) == 0
    assert certain_spread(np.full(100, -3.0), 0.01) == 3
    assert certain_rate_spread(0, 100, 0.01) == 0


def test_more_episodes_are_needed_than_a_certain_spread_would_take_and_fewer_than_the_margin() -> (
    None
):
    rng = np.random.default_rng(1)
    difference, moves = rng.normal(0, 10, 400), rng.normal(0, 10, 400)
    relative = chaotic_episodes_needed(difference, moves, 0.1, SHARE, ALPHA)
    assert relative is not None
    assert 214 < relative < 450  # ((1.645 + 1.282) / 0.2) ** 2 = 214 where the spread is known
    assert chaotic_episodes_needed(difference, np.zeros(400), 1e-3, SHARE, ALPHA) is None
