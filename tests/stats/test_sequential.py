"""Episodes may stop early without a release passing more often than it may, and they do stop where
the case is clear.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from quarl.stats.noninferiority import (
    ALPHA,
    POWER,
    compare_failures,
    compare_means,
    failure_p_value,
)
from quarl.stats.outcomes import FailureTest
from quarl.stats.power import episodes_needed
from quarl.stats.sequential import (
    FEWEST,
    TOKEN,
    alpha_share,
    failures_are_hopeless,
    is_early,
    mean_is_hopeless,
    plan_looks,
)
from tests.stats.test_noninferiority import mixed, normal, rare, skewed

SHARE = 0.05  # the margin, as a share of what an episode may lose
Make = Callable[[np.random.Generator, int, float], NDArray[np.float64]]


def half_rare(rng: np.random.Generator, count: int, loss: float) -> NDArray[np.float64]:
    """Half of the loss everywhere, the other half in one episode of twenty: an early look may meet
    none of these.
    """
    return np.asarray(
        np.where(rng.random(count) < 0.05, -10 * loss, 0) - loss / 2 + rng.normal(0, 0.01, count)
    )


def release(
    make: Make, rng: np.random.Generator, episodes: int, loss: float, margin: float, resamples: int
) -> tuple[bool, int]:
    """Return whether a synthetic release passes at any look, and how many episodes it took."""
    source = rng.normal(100, 20, episodes)
    candidate = source + make(rng, episodes, loss)
    for look in plan_looks(episodes, SHARE, 0.2, ALPHA):
        count, unseen = look.episodes, margin / SHARE if look.episodes < episodes else None
        mean = compare_means(
            source[:count],
            candidate[:count],
            margin,
            alpha=ALPHA * look.alpha_share,
            resamples=resamples,
            largest_loss=unseen,
        )
        if mean.passed or mean_is_hopeless(mean):
            return mean.passed, count
    return False, episodes


def releases(
    make: Make, count: int, episodes: int, loss: float, margin: float, resamples: int = 199
) -> tuple[float, float]:
    """Return the share of releases that pass, and the episodes they took on average."""
    rng = np.random.default_rng(1)
    results = [release(make, rng, episodes, loss, margin, resamples) for _ in range(count)]
    return float(np.mean([passed for passed, _ in results])), float(
        np.mean([used for _, used in results])
    )


@pytest.mark.parametrize("episodes", [2, 7, 20, 63, 64, 100, 400, 2001])
def test_the_looks_spend_the_error_once_and_end_with_the_last_episode(episodes: int) -> None:
    looks = plan_looks(episodes, 0.5, 0.5, ALPHA)
    assert sum(look.alpha_share for look in looks) == pytest.approx(1)
    assert looks[-1].episodes == episodes
    counts = [look.episodes for look in looks]
    assert counts == sorted(set(counts))
    assert min(counts) >= min(FEWEST, episodes)
    assert all(0 < look.alpha_share <= 1 for look in looks)


@pytest.mark.parametrize(("episodes", "looks"), [(298, 1), (299, 4)])
def test_there_is_one_look_where_only_the_whole_error_lets_a_flawless_release_pass(
    episodes: int, looks: int
) -> None:
    assert (
        len(plan_looks(episodes, 0.02, 0.01, ALPHA)) == looks
    )  # 0.99 ** 299 is the first below 0.05


def test_a_verdict_may_use_what_its_look_spends_and_nothing_between_looks() -> None:
    looks = plan_looks(400, 0.03, 0.03, ALPHA)
    assert [look.episodes for look in looks] == [50, 100, 200, 400]
    assert [alpha_share(looks, look.episodes) for look in looks] == pytest.approx(
        [TOKEN, TOKEN, 1 / 4 - 2 * TOKEN, 3 / 4]
    )
    assert alpha_share(looks, 150) == 0
    assert alpha_share((), 150) == 1
    assert (is_early(looks, 200), is_early(looks, 400), is_early((), 400)) == (True, False, False)


@pytest.mark.parametrize(("margin", "failure_margin"), [(0.01, 0.03), (0.03, 0.01)])
def test_an_early_look_that_no_flawless_release_could_pass_leaves_the_error_to_the_last(
    margin: float, failure_margin: float
) -> None:
    looks = plan_looks(400, margin, failure_margin, ALPHA)
    assert [look.alpha_share for look in looks[:-1]] == [TOKEN, TOKEN, TOKEN]


@pytest.mark.parametrize("make", [normal, mixed, skewed, rare, half_rare])
def test_a_release_that_loses_the_margin_seldom_passes_at_any_look(make: Make) -> None:
    count = 200
    passed, _ = releases(make, count, episodes=240, loss=0.5, margin=0.5)
    assert passed <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / count)


@pytest.mark.slow
@pytest.mark.parametrize("make", [normal, mixed, skewed, rare, half_rare])
def test_of_two_thousand_releases_that_lose_the_margin_one_in_twenty_passes_at_any_look(
    make: Make,
) -> None:
    count = 2000
    passed, _ = releases(make, count, episodes=400, loss=0.3, margin=0.3, resamples=499)
    assert passed <= ALPHA


@pytest.mark.long
@pytest.mark.parametrize("discordant", [0.03, 0.05, 0.1])
def test_a_release_that_fails_by_the_margin_more_often_seldom_passes_at_any_look(
    discordant: float,
) -> None:
    """20,000 releases: the exact test at every look."""
    count, episodes, margin = 20_000, 400, 0.03
    p_value = cache(failure_p_value)
    rng = np.random.default_rng(2)
    harm_rate, gain_rate = (discordant + margin) / 2, (discordant - margin) / 2
    passed, done = np.zeros(count, np.bool_), 0
    harms, gains = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for look in plan_looks(episodes, 0.05, margin, ALPHA):
        more = rng.multinomial(look.episodes - done, [harm_rate, gain_rate, 1 - discordant], count)
        harms, gains, done = harms + more[:, 0], gains + more[:, 1], look.episodes
        pairs, place = np.unique(np.stack([harms, gains], 1), axis=0, return_inverse=True)
        likely = [
            h - g < done * margin
            and p_value(done, int(h), int(g), margin) <= ALPHA * look.alpha_share
            for h, g in pairs
        ]
        passed |= np.array(likely)[place.ravel()]
    assert passed.mean() <= ALPHA


def needed_episodes(make: Make, margin: float) -> int:
    """Return how many episodes the last look asks for, from a pilot so large that its spread is
    certain.
    """
    share = plan_looks(400, SHARE, 0.2, ALPHA)[-1].alpha_share
    episodes = episodes_needed(make(np.random.default_rng(0), 50_000, 0), margin, ALPHA * share)
    assert episodes is not None
    return episodes


@pytest.mark.parametrize("make", [normal, mixed])
def test_an_equal_release_passes_with_the_episodes_it_asked_for(make: Make) -> None:
    count, margin = 200, 0.35
    episodes = needed_episodes(make, margin)
    passed, _ = releases(make, count, episodes, loss=0, margin=margin)
    assert passed >= POWER - 3 * math.sqrt(POWER * (1 - POWER) / count)


@pytest.mark.slow
@pytest.mark.parametrize("make", [normal, mixed])
def test_nine_in_ten_of_two_thousand_equal_releases_pass_with_the_episodes_they_asked_for(
    make: Make,
) -> None:
    episodes = needed_episodes(make, 0.3)
    assert releases(make, 2000, episodes, loss=0, margin=0.3, resamples=499)[0] >= POWER


def test_a_destroyed_release_is_given_up_at_the_first_look_and_a_clear_pass_comes_early() -> None:
    assert releases(normal, 50, episodes=400, loss=3, margin=0.5)[1] <= 60
    passed, used = releases(normal, 50, episodes=400, loss=0, margin=0.5)
    assert passed == 1
    assert used <= 200


def test_giving_up_needs_a_loss_that_is_certain() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(0, 1, 50)
    assert mean_is_hopeless(compare_means(source, source - 1, 0.5, resamples=99))
    assert not mean_is_hopeless(
        compare_means(source, source - rng.normal(0.6, 1, 50), 0.5, resamples=99)
    )


def failures(count: int, only_candidate: int) -> FailureTest:
    failed = np.arange(count) < only_candidate
    return compare_failures(np.zeros(count, np.bool_), failed, 0.05)


@pytest.mark.parametrize(("only_candidate", "hopeless"), [(0, False), (4, False), (15, True)])
def test_failures_are_hopeless_where_their_rise_is_certainly_beyond_the_margin(
    only_candidate: int, hopeless: bool
) -> None:
    assert failures_are_hopeless(failures(50, only_candidate)) is hopeless
    assert failures_are_hopeless(None) is False


def test_an_early_bound_makes_room_for_losses_too_rare_to_have_been_met() -> None:
    source = np.arange(50.0)
    early = compare_means(source, source, 1.0, largest_loss=100.0)
    assert early.unseen_lower == pytest.approx(-100 * (1 - ALPHA ** (1 / 50)))
    assert early.lower == early.unseen_lower
    assert not early.passed
    assert compare_means(source, source, 1.0).passed
