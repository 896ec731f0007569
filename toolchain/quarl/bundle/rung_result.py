"""What was measured on each candidate while `auto` chose, and what observations alone allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from quarl.stats.outcomes import FailureTest, MeanTest


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What rounding the observations alone allows: all else of the policy is float."""

    bits: int
    differing: float  # as of a `RungResult`


@dataclass(frozen=True, slots=True)
class Attempt:
    """A candidate that came before the gate, in a ship that goes on where the gate refuses."""

    number: Annotated[int, Ge(1), Le(900)] = 1  # each try has seeds of its own
    # of alpha, which all tries share (`quarl.stats.tries`)
    error_share: Annotated[float, Gt(0), Le(1)] = 1.0
    refused: str = ""  # why the gate refused it; "": it is the bundle's

    def sentence(self, alpha: float) -> str:
        """Return which try it is, for people."""
        return (
            f"try {self.number} plays seeds of its own and may err by "
            f"{self.error_share * alpha:.4g}, so that all tries together err by at most {alpha:g}"
        )


ONLY_TRY = Attempt()  # may use the whole error


@dataclass(frozen=True, slots=True)
class RungResult:
    """What is known of one candidate; the closed loop is None where it was not played."""

    rung: int
    name: str
    parameter_bytes: int
    # on the calibration: value lost per decision (discrete) or action error (box), in the policy's
    # units
    decision_error: float
    mean: MeanTest | None = None
    failures: FailureTest | None = None
    missed: tuple[str, ...] = ()  # what the limits ask and the rung does not hold, in words
    # on held-out observations: share of other decisions (discrete) or mean action error as a share
    # of the range (box); None where it was not asked
    differing: float | None = None
    instructions: int | None = None  # of one decision
    flash_bytes: int | None = None
    cost: float | None = None  # times the cheapest candidate's
    counted: Literal["emulated", "estimated"] = "estimated"  # instructions and flash
    taken: bool = False
    # None: it never came before the gate, or no other candidate follows it
    attempt: Attempt | None = None

    def sentence(self) -> str:
        """Return the result as a line for people."""
        found = (
            f"{self.parameter_bytes:,} B of parameters, decision error {self.decision_error:.3g}"
        )
        if self.differing is not None:
            found += f", {self.differing:.2%} unlike the source"
        if self.cost is not None:
            found += f", {self.cost:.2f} times the cheapest"
        if self.mean is not None:
            found += (
                f", return {self.mean.mean_source:.5g} -> {self.mean.mean_candidate:.5g} "
                f"over {self.mean.episodes} episodes"
            )
        if self.failures is not None:
            found += f", failures {100 * self.failures.rate_difference:+.1f} points"
        end = f": does not hold: {'; '.join(self.missed)}" if self.missed else ""
        return f"rung {self.rung} ({self.name}): {found}{end}"


def pareto_front(results: Sequence[RungResult]) -> tuple[RungResult, ...]:
    """Return the candidates than which none is both cheaper and more faithful, cheapest first."""
    known = [one for one in results if one.cost is not None and one.differing is not None]
    front: list[RungResult] = []
    for one in sorted(known, key=lambda one: (one.cost or 0.0, one.differing or 0.0)):
        if not front or (one.differing or 0.0) < (front[-1].differing or 0.0):
            front.append(one)
    return tuple(front)
