"""How many paired episodes are played: the looks as planned, and what the first of them showed.

In: nothing but numbers. Out: `EpisodePlan`, which parity.json keeps, and `Schedule`, which a player
follows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from quarl.files.documents import Count
from quarl.stats.sequential import Look

if TYPE_CHECKING:
    from quarl.evidence.closed_loop import PairedEpisodes


@dataclass(frozen=True, slots=True)
class EpisodePlan:
    """What was known at the first look."""

    most: Count  # pairs that would be played
    first_look: Count  # pairs played by then
    spread: Annotated[float, Ge(0)]  # standard deviation of int8 - source, return units
    needed: Count | None  # pairs that prove the limits for an equal policy; None: over a million
    seconds_per_pair: Annotated[float, Ge(0)]  # wall time of source, int8 and control, here
    # as many as are needed were asked for, in at most this time; None: their number was
    budget_minutes: Annotated[float, Ge(0)] | None = None

    def minutes_of(self, pairs: int) -> float:
        """Return how long so many pairs take at this machine's speed."""
        return pairs * self.seconds_per_pair / 60

    def sentence(self) -> str:
        """Return the plan for people."""
        looked = (
            f"after {self.first_look} pairs in {minutes_text(self.minutes_of(self.first_look))}"
        )
        if self.needed is None:
            asks = "no number of pairs proves the limits"
        else:
            asks = (
                f"an equal policy needs about {self.needed:,} "
                f"({minutes_text(self.minutes_of(self.needed))})"
            )
        plays = f"{self.most:,} at most are played ({minutes_text(self.minutes_of(self.most))})"
        short = self.needed is None or self.needed > self.most
        return f"{looked}: the difference spreads by {self.spread:.3g}; {asks}; {plays}" + (
            ", fewer than that: expect NOT PROVEN" if short else ""
        )


def minutes_text(minutes: float) -> str:
    """Return a time for people: seconds below two minutes, then minutes."""
    if minutes < 2:
        return f"{math.ceil(60 * minutes)} s"
    return f"{minutes:,.0f} min"


def never(paired: PairedEpisodes) -> bool:
    """Return False: no number of episodes is enough but the last."""
    return False


@dataclass(frozen=True, slots=True)
class Schedule:
    """When played episodes are looked at, and what follows.

    Attributes:
        looks: after how many episodes; the last one is the most that are played.
        is_settled: whether the episodes of a look are enough.
        after_first: told the first look's episodes and the seconds they took; returns the looks
            that hold from then on, the first of them the one that is over.
        clock: seconds.
    """

    looks: tuple[Look, ...]
    is_settled: Callable[[PairedEpisodes], bool] = never
    after_first: Callable[[PairedEpisodes, float], tuple[Look, ...]] | None = None
    clock: Callable[[], float] = time.perf_counter
