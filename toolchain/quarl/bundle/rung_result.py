"""What was measured on one rung of the ladder while `auto` chose."""

from __future__ import annotations

from dataclasses import dataclass

from quarl.stats.noninferiority import FailureTest, MeanTest


@dataclass(frozen=True, slots=True)
class RungResult:
    """What was measured on one rung; the closed loop is None where it was not played."""

    rung: int
    name: str
    parameter_bytes: int
    # on the calibration: value lost per decision (discrete) or action error (box), in the policy's
    # units
    decision_error: float
    mean: MeanTest | None = None
    failures: FailureTest | None = None
    missed: tuple[str, ...] = ()  # what the limits ask and the rung does not hold, in words

    def sentence(self) -> str:
        """Return the result as a line for people."""
        found = (
            f"{self.parameter_bytes:,} B of parameters, decision error {self.decision_error:.3g}"
        )
        if self.mean is not None:
            found += (
                f", return {self.mean.mean_source:.5g} -> {self.mean.mean_candidate:.5g} "
                f"over {self.mean.episodes} episodes"
            )
        if self.failures is not None:
            found += f", failures {100 * self.failures.rate_difference:+.1f} points"
        end = f": does not hold: {'; '.join(self.missed)}" if self.missed else ""
        return f"rung {self.rung} ({self.name}): {found}{end}"
