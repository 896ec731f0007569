"""Sequential stopping: when the episodes are looked at, how much of the allowed error each look may
use, and when a look is enough.

In: the most episodes to play and what is asked of them. Out: `Look`s, and the answer to "is this
settled?".
By the share t of the episodes alpha * t ** 2 of the error is spent (power family of Kim and DeMets,
Biometrika 74, 1987) where a look can pass at all, and each look tests at what it spends. All looks
together spend alpha, so the probability of passing wrongly at any of them is at most alpha,
whatever the rule of stopping, the test or its distribution
(toolchain/docs/decisions/0006-sequential-episodes.md).
Giving up early costs nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache

import numpy as np

from quarl.stats import special
from quarl.stats.noninferiority import failure_p_value, tango_score
from quarl.stats.outcomes import FailureTest, MeanTest

LOOKS = (1 / 8, 1 / 4, 1 / 2)  # shares of the episodes at which they are looked at before the end
# of the share of the error that is spent: a quarter of it half-way, where that look can pass at all
POWER = 2
FEWEST = 8  # episodes before the first look
TOKEN = 1e-4  # share of the error of a look that can only give a release up
HOPELESS = 0.001  # one-sided error of giving up


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the episodes."""

    episodes: int  # played by then
    alpha_share: float  # of the whole error that this look may use; those of all looks sum to 1


@cache
def plan_looks(
    episodes: int, margin: float, failure_margin: float, alpha: float
) -> tuple[Look, ...]:
    """Return the looks at `episodes`: early ones spend their part of the error only where a
    flawless release could pass by it.

    Args:
        margin: of the mean return, as a share of what the source is above random play, which an
            episode may lose without a look meeting it.
        failure_margin: largest rise of the failure rate, 0..1.
    """
    looks: list[Look] = []
    spent = 0.0
    for share in LOOKS:
        count = math.ceil(share * episodes)
        if count < FEWEST or count >= episodes or (looks and count == looks[-1].episodes):
            continue
        part = (count / episodes) ** POWER - spent
        can_pass = (1 - margin) ** count <= alpha * part and failure_p_value(
            count, 0, 0, failure_margin
        ) <= alpha * part
        looks.append(Look(count, part if can_pass else TOKEN))
        spent += looks[-1].alpha_share
    last = Look(episodes, 1 - spent)
    if failure_p_value(episodes, 0, 0, failure_margin) > alpha * last.alpha_share:
        return (
            Look(episodes, 1.0),
        )  # so few episodes that only the whole error lets a flawless release pass
    return (*looks, last)


@cache
def flawless_episodes(failure_margin: float, alpha: float) -> int:
    """Return how many episodes prove the margin of the failure rate where no outcome differs: with
    fewer not even a flawless release can pass.

    (1 - margin) ** n <= alpha is needed; the exact test, which minds all shares of discordant
    pairs, may ask for a few more.
    """
    if not 0 < failure_margin < 1:
        return 2
    least = max(2, math.ceil(math.log(alpha) / math.log1p(-failure_margin)))
    step = 1
    while failure_p_value(least + step - 1, 0, 0, failure_margin) > alpha:
        step *= 2
    enough = range(least + step // 2, least + step)  # the p-value falls with the episodes

    def proves(count: int) -> bool:
        return failure_p_value(count, 0, 0, failure_margin) <= alpha

    return enough[bisect_left(enough, True, key=proves)]


def smallest_failure_margin(episodes: int, alpha: float) -> float:
    """Return the smallest margin, in tenths of a point, that a flawless release proves by this many
    episodes; 1.0 where none does.
    """
    least = math.ceil(-1000 * math.expm1(math.log(alpha) / episodes))
    fitting = (k for k in range(least, 1000) if failure_p_value(episodes, 0, 0, k / 1000) <= alpha)
    return next(fitting, 1000) / 1000


def alpha_share(looks: tuple[Look, ...], episodes: int) -> float:
    """Return the share of the error that a verdict on these episodes may use; all of it where no
    looks were planned.
    """
    return (
        next((look.alpha_share for look in looks if look.episodes == episodes), 0.0)
        if looks
        else 1.0
    )


def is_early(looks: tuple[Look, ...], episodes: int) -> bool:
    """Whether more episodes were planned."""
    return bool(looks) and episodes < looks[-1].episodes


def mean_is_hopeless(mean: MeanTest) -> bool:
    """Whether the mean return is certainly below the margin, so that no further episode will make
    this a pass.
    """
    reach = (
        float(special.stdtrit(mean.episodes - 1, 1 - HOPELESS))
        * mean.std_difference
        / math.sqrt(mean.episodes)
    )
    return mean.mean_difference + reach < -mean.margin


def failures_are_hopeless(failures: FailureTest | None) -> bool:
    """Whether the failure rate has certainly risen beyond the margin."""
    if failures is None or not 0 < failures.margin < 1:
        return False
    score = tango_score(
        np.float64(failures.only_candidate),
        np.float64(failures.only_source),
        failures.episodes,
        failures.margin,
    )
    return bool(score > special.ndtri(1 - HOPELESS))
