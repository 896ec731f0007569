"""A number of pairs chosen by a pilot proves the limits, and lets pass no more than it may."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from quarl.stats.noninferiority import ALPHA, POWER, compare_means, failure_p_value
from quarl.stats.pilot import (
    CHOICE,
    FEWEST_PILOT,
    HALFWAY,
    Goal,
    failure_pairs_needed,
    looks_after,
    pairs_needed,
    pairs_to_play,
    pilot_pairs,
)
from quarl.stats.sequential import TOKEN, Look, flawless_episodes, mean_is_hopeless
from tests.stats.test_noninferiority import mixed, normal, rare, skewed
from tests.stats.test_sequential import SHARE, Make, half_rare

MARGIN = 0.35
GOAL = Goal(MARGIN, SHARE, None, ALPHA)
PILOT = pilot_pairs(0.02, ALPHA)


def passes(make: Make, releases: int, loss: float) -> float:
    """Return the share of synthetic releases whose mean passes by the number their pilot chose."""
    rng, passed = np.random.default_rng(4), 0
    for _ in range(releases):
        pilot = make(rng, PILOT, loss)
        needed = pairs_to_play(pilot, np.zeros(PILOT), 0, GOAL)
        assert needed is not None
        difference = pilot
        looks = looks_after(PILOT, min(needed, 2000), GOAL)
        for look in looks:
            more = make(rng, look.episodes - len(difference), loss)
            difference = np.concatenate([difference, more])
            alpha = ALPHA * look.alpha_share
            zero = np.zeros(len(difference))
            unseen = None if look is looks[-1] else MARGIN / SHARE
            mean = compare_means(
                zero, difference, MARGIN, alpha=alpha, resamples=199, largest_loss=unseen
            )
            if mean.passed or mean_is_hopeless(mean):
                break
        passed += mean.passed
    return passed / releases


def test_the_pilot_is_a_part_of_what_a_flawless_release_takes() -> None:
    assert pilot_pairs(0.02, ALPHA) == 38
    assert pilot_pairs(0.5, ALPHA) == FEWEST_PILOT


@pytest.mark.parametrize(("pilot", "most"), [(38, 10), (38, 39), (38, 101), (38, 102), (50, 4000)])
def test_looks_after_a_pilot_spend_the_error_once(pilot: int, most: int) -> None:
    looks = looks_after(pilot, most, GOAL)
    assert looks[0].episodes == pilot
    assert looks[-1].episodes == max(most, pilot + 1)
    assert sum(look.alpha_share for look in looks) == pytest.approx(1 - CHOICE)
    assert len(looks) == (3 if most - pilot >= 64 else 2)
    assert looks[0].alpha_share == TOKEN


@pytest.mark.parametrize(("most", "share"), [(454, TOKEN), (456, HALFWAY)])
def test_halfway_spends_where_a_flawless_release_can_pass(most: int, share: float) -> None:
    """0.98 ** 228 is the first below 0.01; the exact test asks for a few more."""
    goal = Goal(MARGIN, 0.02, None, ALPHA)
    assert looks_after(38, most, goal)[1] == Look(most // 2, share)


@pytest.mark.long
def test_failures_ask_for_what_a_flawless_release_takes_and_more_where_some_differ() -> None:
    still = np.zeros(PILOT)
    flawless = pairs_to_play(still, still, 0, Goal(1.0, 0.5, 0.05, ALPHA))
    some = pairs_to_play(still, still, 4, Goal(1.0, 0.5, 0.05, ALPHA))
    assert flawless is not None
    assert some is not None
    assert 59 <= flawless < some
    assert pairs_to_play(still, still, 4, Goal(1.0, 0.5, None, ALPHA)) == 11
    spread = np.random.default_rng(0).normal(0, 1, PILOT)
    assert pairs_to_play(spread, still, 0, Goal(1e-4, 0.5, None, ALPHA)) is None


@pytest.mark.long
@pytest.mark.parametrize("margin", [0.02, 0.1, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("share", [0.01, 1 / 33, 0.2])
def test_the_failures_number_is_found_however_few_it_is(margin: float, share: float) -> None:
    number = failure_pairs_needed(margin, share, 0.6 * ALPHA)
    assert number is not None
    assert number >= flawless_episodes(margin, 0.6 * ALPHA)


@pytest.mark.long
def test_a_given_number_needs_no_room_for_what_was_not_met() -> None:
    still = np.zeros(PILOT)
    assert pairs_needed(still, still, 0, Goal(1.0, 0.02, 0.02, ALPHA)) == 149
    assert pairs_to_play(still, still, 0, Goal(1.0, 0.02, 0.02, ALPHA)) == 762


@pytest.mark.long
@pytest.mark.parametrize("make", [normal, mixed, skewed, rare, half_rare])
def test_a_release_that_loses_the_margin_seldom_passes_by_the_number_it_chose(make: Make) -> None:
    count = 150
    assert passes(make, count, loss=MARGIN) <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / count)


@pytest.mark.long
@pytest.mark.parametrize("make", [normal, mixed])
def test_an_equal_release_passes_by_the_number_it_chose(make: Make) -> None:
    count = 100
    assert passes(make, count, loss=0) >= POWER - 3 * math.sqrt(POWER * (1 - POWER) / count)


@pytest.mark.slow
@pytest.mark.parametrize("make", [normal, mixed, skewed, rare, half_rare])
def test_of_two_thousand_that_lose_the_margin_one_in_twenty_passes_by_the_number_it_chose(
    make: Make,
) -> None:
    assert passes(make, 2000, loss=MARGIN) <= ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("make", [normal, mixed])
def test_nine_in_ten_of_two_thousand_equal_releases_pass_by_the_number_they_chose(
    make: Make,
) -> None:
    assert passes(make, 2000, loss=0) >= POWER


@pytest.mark.slow
@pytest.mark.parametrize("discordant", [0.0, 0.02, 0.05])
def test_failures_pass_by_the_number_they_chose_nine_times_in_ten(discordant: float) -> None:
    rng, count, margin, passed = np.random.default_rng(6), 2000, 0.05, 0
    alpha, goal = ALPHA * (1 - CHOICE - HALFWAY - TOKEN), Goal(1.0, 0.5, margin, ALPHA)
    still, p_value = np.zeros(PILOT), cache(failure_p_value)
    needed = cache(lambda moved: pairs_to_play(still, still, moved, goal))
    for _ in range(count):
        pairs = needed(int(rng.binomial(PILOT, discordant)))
        assert pairs is not None
        harms, gains, _ = rng.multinomial(
            pairs, [discordant / 2, discordant / 2, 1 - discordant]
        ).tolist()
        passed += p_value(pairs, harms, gains, margin) <= alpha
    assert passed / count >= POWER
