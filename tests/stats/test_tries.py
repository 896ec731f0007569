"""However many candidates are tried, all of them together pass wrongly no more often than alpha."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from quarl.bundle.limits import Limits
from quarl.bundle.rung_result import ONLY_TRY, Attempt
from quarl.stats.noninferiority import ALPHA, compare_means
from quarl.stats.seeds import ACTOR_SEED, LESSON_HELDOUT_SEED, PARITY_SEED, parity_seed
from quarl.stats.sequential import Look, flawless_episodes, mean_is_hopeless
from quarl.stats.tries import episodes_of_try, error_share
from quarl.verdict.limits import looks_of
from quarl.verdict.planning import AutoEpisodes, first_looks, first_share
from tests.stats.test_sequential import Make, half_rare, mixed, normal, rare, skewed

LIMITS = Limits(episodes=240, margin=0.05, failure_margin=0.2, random_return=0.0)
TRIES = 6  # as many candidates as a ladder has rungs, all of them lose the margin


def passes_at_any_look(
    make: Make, rng: np.random.Generator, looks: Sequence[Look], loss: float
) -> bool:
    """Return whether a synthetic release that loses the margin passes at a look of its try."""
    source = rng.normal(100, 20, looks[-1].episodes)
    candidate = source + make(rng, len(source), loss)
    for look in looks:
        count = look.episodes
        mean = compare_means(
            source[:count],
            candidate[:count],
            loss,
            alpha=ALPHA * look.alpha_share,
            resamples=199,
            largest_loss=loss / LIMITS.margin if count < len(source) else None,
        )
        if mean.passed or mean_is_hopeless(mean):
            return mean.passed
    return False


def share_that_pass(make: Make, ships: int, loss: float = 0.5) -> float:
    """Return how many of so many ships pass one of their candidates, which all lose the margin."""
    rng = np.random.default_rng(2)
    tries = [Attempt(number, error_share(number)) for number in range(1, TRIES + 1)]
    planned = [first_looks(LIMITS, None, attempt) for attempt in tries]
    passed = [
        any(passes_at_any_look(make, rng, looks, loss) for looks in planned) for _ in range(ships)
    ]
    return float(np.mean(passed))


@pytest.mark.long
@pytest.mark.parametrize("make", [normal, half_rare])
def test_ships_whose_candidates_all_lose_the_margin_seldom_pass_one(make: Make) -> None:
    ships = 60
    allowed = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / ships)
    assert share_that_pass(make, ships) <= allowed


@pytest.mark.slow
@pytest.mark.parametrize("make", [normal, mixed, skewed, rare, half_rare])
def test_of_two_thousand_ships_of_bad_candidates_one_in_twenty_passes(make: Make) -> None:
    assert share_that_pass(make, 2000) <= ALPHA


@pytest.mark.long
def test_one_level_for_every_try_would_pass_too_often() -> None:
    """What the shares are for: six tries at the whole error."""
    rng, looks = np.random.default_rng(4), first_looks(LIMITS, None, ONLY_TRY)
    passed = [
        any(passes_at_any_look(normal, rng, looks, 0.5) for _ in range(TRIES)) for _ in range(60)
    ]
    assert np.mean(passed) > 2 * ALPHA


def test_the_shares_of_any_number_of_tries_stay_within_the_error() -> None:
    shares = [error_share(number) for number in range(1, 40)]
    assert sum(shares) < 1
    assert all(after == before / 2 for before, after in pairwise(shares))


@pytest.mark.parametrize("asked", [None, 200, AutoEpisodes()])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_the_looks_of_a_try_spend_its_share_and_can_pass_a_flawless_release(
    asked: int | AutoEpisodes | None, number: int
) -> None:
    limits = Limits(random_return=0.0)
    attempt = Attempt(number, error_share(number))
    looks = first_looks(limits, asked, attempt)
    assert sum(look.alpha_share for look in looks) == pytest.approx(attempt.error_share)
    last = looks[-1]
    assert flawless_episodes(0.02, ALPHA * last.alpha_share) <= last.episodes


def test_the_only_try_is_planned_as_ever() -> None:
    assert first_looks(LIMITS, None) == looks_of(LIMITS, LIMITS.episodes)
    assert episodes_of_try(200, 0.02, ALPHA, 1, 1.0) == 200


def test_a_later_try_plays_more_in_the_proportion_of_what_a_flawless_one_needs() -> None:
    assert [flawless_episodes(0.02, ALPHA * error_share(k)) for k in (1, 2)] == [193, 248]
    assert episodes_of_try(200, 0.02, ALPHA, 2, 0.25) == math.ceil(200 * 248 / 193)


@pytest.mark.parametrize(("episodes", "share"), [(192, 1.0), (193, 0.5)])
def test_the_first_try_leaves_error_for_others_where_its_episodes_allow_it(
    episodes: int, share: float
) -> None:
    assert first_share(Limits(), episodes) == share
    assert first_share(Limits(), AutoEpisodes()) == 0.5


def test_each_try_has_a_million_seeds_of_its_own() -> None:
    seeds = [parity_seed(number) for number in range(1, 901)]
    assert seeds[0] == PARITY_SEED
    assert all(later - earlier >= 1_000_000 for earlier, later in pairwise(seeds))
    assert seeds[1] >= LESSON_HELDOUT_SEED + 1_000_000
    assert seeds[-1] + 1_000_000 <= ACTOR_SEED
