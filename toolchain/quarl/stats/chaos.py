"""Chaos: how far episodes move when the policy only rounds otherwise, and a margin relative to
that.

In: what the float64 control moves each pair by, and what int8 does. Out: `Chaos`, and the margins
that its spread grants.
Where the control moves, the last bit decides an episode, and no margin finer than that spread is
provable in a sensible number of episodes. `chaos_margin` then allows a share of the spread. Its
size is not known but estimated, so a lower bound of it counts: SPREAD_ERROR of the error is spent
on that bound and the rest on the test, and both together err by alpha at most, by addition.
Rows of squares lean to the right, where the t bound from below is on the careful side; the bound
corrected for skewness counts where it is lower still.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quarl.stats import special
from quarl.stats.intervals import rate_interval
from quarl.stats.noninferiority import MOST_EPISODES, episodes_by_formula, skew_lower_bounds
from quarl.stats.power import episodes_needed

SPREAD_ERROR = 0.2  # of the error, for the bound of the control's spread
# int8 moves episodes as the control does where its spread is at most this many times the control's
AS_CHAOTIC = 1.25


@dataclass(frozen=True, slots=True)
class Chaos:
    """How far control and int8 move episodes of the same seeds; spreads in return units."""

    control_moved: float  # share of the pairs whose return the control changes, 0..1
    control_spread: float  # root of the mean square of control - source
    candidate_spread: float  # the same of int8 - source
    certain_spread: float  # lower bound of the control's, at SPREAD_ERROR of the error
    share: float | None  # `chaos_margin` of the limits; None: chaos grants nothing
    margin: float  # what is allowed of the mean, in return units
    failure_margin: float  # what is allowed of the failure rate, 0..1
    plain_margin: float  # what would be allowed without chaos

    @property
    def widens(self) -> bool:
        """Whether the margin of the mean comes of the control's spread."""
        return self.margin > self.plain_margin

    @property
    def is_of_the_source(self) -> bool:
        """Whether int8 moves episodes no further than the control does."""
        return self.control_spread > 0 and self.candidate_spread <= AS_CHAOTIC * self.control_spread


def spread_of(moves: NDArray[np.float64]) -> float:
    """Return the root of the mean square of moves [n], in their unit."""
    return math.sqrt(float(np.square(moves).mean()))


def certain_spread(moves: NDArray[np.float64], alpha: float) -> float:
    """Return the lower bound of the spread of which moves [n >= 2] are a sample, one-sided at
    alpha; 0.0 where nothing is certain.
    """
    squares = np.square(moves)
    if np.ptp(squares) == 0:
        return math.sqrt(float(squares[0]))
    mean, spread = squares.mean(), squares.std(ddof=1)
    reach = float(special.stdtrit(len(squares) - 1, 1 - alpha)) * spread / math.sqrt(len(squares))
    skewed = skew_lower_bounds(squares[None], np.array([mean]), np.array([spread]), alpha)[0]
    return math.sqrt(max(0.0, min(float(mean - reach), float(skewed))))


def certain_rate_spread(moved: int, count: int, alpha: float) -> float:
    """Return the same of a rate: `moved` of `count` pairs succeed with one of the two alone."""
    return math.sqrt(rate_interval(moved, count, alpha)[0])


def remaining_alpha(alpha: float, share: float | None) -> float:
    """Return what the test itself may err by; `share` as in `Chaos`."""
    return alpha if share is None else (1 - SPREAD_ERROR) * alpha


def chaotic_episodes_needed(
    difference: NDArray[np.float64],
    moves: NDArray[np.float64],
    margin: float,
    share: float,
    alpha: float,
) -> int | None:
    """Return for how many episodes an equal policy proves the larger of `margin` and the share of
    the spread that is certain by then; None where a million are too few.

    Args:
        difference: [n >= 2], candidate - source of a pilot.
        moves: [n], control - source.
    """
    own, spread = remaining_alpha(alpha, share), float(difference.std(ddof=1))
    squares = np.square(moves)

    def allowed(count: int) -> float:
        """Return the margin that `count` episodes will grant."""
        reach = float(special.stdtrit(count - 1, 1 - SPREAD_ERROR * alpha)) / math.sqrt(count)
        certain = float(squares.mean()) - reach * float(squares.std(ddof=1))
        return max(margin, share * math.sqrt(max(0.0, certain)))

    low, high = 2, MOST_EPISODES
    while low < high:
        middle = (low + high) // 2
        asked = episodes_by_formula(allowed(middle), spread, own)
        low, high = (low, middle) if asked is not None and asked <= middle else (middle + 1, high)
    needed = episodes_needed(difference, allowed(low), own)
    return None if needed is None else max(low, needed)
