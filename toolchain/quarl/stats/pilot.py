"""How many pairs prove the limits, as a pilot shows, and when they are looked at.

In: the first pairs of a release and what is to be proven. Out: a number, and `Look`s.
The spread of a pilot is itself uncertain, and a number taken from a small spread is too small: the
spread counts that is larger with a chance of one in five (Browne, Statistics in Medicine 14, 1995).
The pilot's pairs stay in the test (Wittes and Brittain, Statistics in Medicine 9, 1990): the number
follows from their spread and never from their mean. Its look spends a ten-thousandth of the error;
a fifth is kept unspent, since a number chosen by the spread makes t a little bold. A look halfway
spends a fifth where a flawless release can pass by it, so that care costs the flawless little.
Losses that sit in few episodes may not have shown themselves: episodes lost entirely, so often that
they eat the margin, are met by the number that is chosen but for alpha squared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quarl.stats import special
from quarl.stats.chaos import chaotic_episodes_needed
from quarl.stats.noninferiority import (
    MOST_EPISODES,
    POWER,
    failure_episodes_needed,
    margin_is_shown,
)
from quarl.stats.power import episodes_needed
from quarl.stats.sequential import TOKEN, Look, flawless_episodes

FEWEST_PILOT = 32  # pairs
HALFWAY = 0.2  # of the error, for a look halfway
LARGEST_EXACT = 1_000  # pairs for which the power of the failure test is computed exactly
MANY = 100  # pairs that differ, for which the normal approximation is near enough
CHOICE = 0.2  # of the error, kept for a number that was chosen after some pairs were seen
PESSIMISM = 0.8  # one-sided level of the spread that counts
MIDDLE = 64  # pairs left after the pilot that are worth a look halfway


@dataclass(frozen=True, slots=True)
class Goal:
    """What the pairs must prove."""

    margin: float  # of the mean return, return units
    share: float  # the same as a share of what an episode may lose, 0..1
    failure_margin: float | None  # 0..1; None: failures are not judged
    alpha: float  # over all looks
    chaos_margin: float | None = None


def pilot_pairs(failure_margin: float, alpha: float) -> int:
    """Return how many pairs are played before their number is chosen: a quarter of what a flawless
    release takes.
    """
    return max(FEWEST_PILOT, math.ceil(flawless_episodes(failure_margin, alpha) / 4))


def pairs_needed(
    difference: NDArray[np.float64], moves: NDArray[np.float64], discordant: float, goal: Goal
) -> int | None:
    """Return how many pairs prove the goal with POWER for an equal policy that spreads as these
    pairs do; None where a million are too few.

    Args:
        difference: [n >= 2], int8 - source of the first pairs. `moves`: [n], control - source.
        discordant: pairs of which one fails and the other does not.
    """
    alpha, share = goal.alpha, goal.chaos_margin
    if share is None:
        needed = [episodes_needed(difference, goal.margin, alpha)]
    else:
        needed = [chaotic_episodes_needed(difference, moves, goal.margin, share, alpha)]
    if goal.failure_margin is not None:
        seen = discordant / len(difference)
        needed.append(failure_pairs_needed(goal.failure_margin, seen, alpha))
    known = [number for number in needed if number is not None]
    return max(known) if len(known) == len(needed) else None


def pairs_to_play(
    difference: NDArray[np.float64], moves: NDArray[np.float64], discordant: int, goal: Goal
) -> int | None:
    """Return how many pairs to play where a pilot chooses their number: what is needed at the
    larger spread, failures and catastrophes that it may not have met. Arguments as `pairs_needed`.
    """
    count = len(difference)
    goal = replace(goal, alpha=(1 - CHOICE - HALFWAY - TOKEN) * goal.alpha)
    swell = math.sqrt((count - 1) / float(special.chdtri(count - 1, PESSIMISM)))
    wide = swell * (difference - difference.mean())
    # none seen in so few is not none
    needed = pairs_needed(wide, moves, count * (discordant + 1) / (count + 1), goal)
    unmet = math.ceil(2 * math.log(goal.alpha) / math.log1p(-goal.share)) if goal.share < 1 else 2
    return None if needed is None else max(needed, unmet)


def failure_pairs_needed(margin: float, share: float, alpha: float) -> int | None:
    """Return how many pairs prove the margin of the failure rate with POWER where a share of them
    differs, half of it either way; None where a million are too few. Exact up to LARGEST_EXACT
    pairs, where fewer than MANY differ and the normal approximation asks for too few.
    """
    by_formula = failure_episodes_needed(margin, share, alpha)
    if by_formula is None or share * by_formula > MANY:
        return by_formula
    low = high = max(by_formula, flawless_episodes(margin, alpha))
    while high <= LARGEST_EXACT and _failure_power(high, margin, share, alpha) < POWER:
        low, high = high, math.ceil(1.3 * high)
    if high > LARGEST_EXACT:
        return max(low, by_formula)
    while high - low > max(1, 0.04 * low):
        middle = (low + high) // 2
        enough = _failure_power(middle, margin, share, alpha) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high


def _failure_power(count: int, margin: float, share: float, alpha: float) -> float:
    """Return how likely `count` pairs pass of which each harms or helps with share / 2."""
    power, harm = 0.0, 0
    for gain in range(count + 1):  # more gains let more harms pass
        likely = float(special.bdtr(gain, count, share / 2))
        chance = likely - (float(special.bdtr(gain - 1, count, share / 2)) if gain else 0.0)
        while margin_is_shown(count, harm, gain, margin, alpha):
            harm += 1
        rate = share / 2 / (1 - share / 2)
        power += chance * (float(special.bdtr(harm - 1, count - gain, rate)) if harm else 0.0)
        if 1 - likely < 1e-4:
            break
    return power


def looks_after(pilot: int, most: int, goal: Goal) -> tuple[Look, ...]:
    """Return the looks of a release whose pilot is played and whose number is chosen: one halfway,
    which can pass a flawless release or only give one up, and the last.
    """
    most = min(max(most, pilot + 1), MOST_EPISODES)
    middle, part = max(-(-most // 2), pilot + 1), HALFWAY * goal.alpha
    if most - pilot < MIDDLE:
        return (Look(pilot, TOKEN), Look(most, 1 - CHOICE - TOKEN))
    can_pass = (1 - goal.share) ** middle <= part and (
        goal.failure_margin is None or flawless_episodes(goal.failure_margin, part) <= middle
    )
    spent = HALFWAY if can_pass else TOKEN
    return (Look(pilot, TOKEN), Look(middle, spent), Look(most, 1 - CHOICE - TOKEN - spent))
