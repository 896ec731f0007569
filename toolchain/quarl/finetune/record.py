"""What a distillation did and measured: `training.json` of a bundle.

Every figure is measured on this host: errors and agreement on held-out observations of the source's
and of the post-training candidate's play, which no student learned from.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from quarl.quantize.widths import Widths

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a student stood."""

    step: int
    seconds: float
    loss: float
    error: float  # decision error on the held-out observations, in the policy's units
    agreement: float  # share of equal actions, or 1 - the mean error as a share of the range


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to integers, and how faithful they are."""

    name: str
    error: float  # decision error: value lost per decision, or mean action error
    agreement: float
    mean_return: float | None = None  # of the episodes that chose; None where it was not played
    curve: tuple[Mark, ...] = ()  # of a trained one
    problem: str = ""  # why there is nothing to choose


@dataclass(frozen=True, slots=True)
class Record:
    """A whole distillation."""

    widths: Widths
    seed: int
    observations: int  # learned from
    env_steps: int
    seconds: float
    ceiling: float | None  # agreement that the rounding of observations alone allows
    source_return: float | None  # over the same episodes as the candidates'
    episodes: int  # that chose
    candidates: tuple[Candidate, ...]
    chosen: str
    differing: int  # outputs of the export unlike the forward pass of training
    compared: int  # outputs
    interrupted: bool = False

    def to_json(self) -> str:
        """Return canonical JSON."""
        return (
            json.dumps(
                {"format": FORMAT, "kind": "distilled", **asdict(self)}, indent=1, sort_keys=True
            )
            + "\n"
        )

    def sentences(self) -> list[str]:
        """Return the result for people."""
        lines = []
        if self.ceiling is not None:
            lines.append(
                f"the rounding of observations alone allows {self.ceiling:.2%} "
                f"({self.widths.sentence()})"
            )
        for candidate in self.candidates:
            mark = "*" if candidate.name == self.chosen else " "
            if candidate.problem:
                lines.append(f"{mark} {candidate.name}: {candidate.problem}")
                continue
            played = (
                ""
                if candidate.mean_return is None
                else f", return {candidate.mean_return:.5g} of {self.source_return:.5g}"
            )
            lines.append(
                f"{mark} {candidate.name}: agreement {candidate.agreement:.2%}, decision error "
                f"{candidate.error:.3g}{played}"
            )
        lines.append(
            f"{self.differing} of {self.compared:,} outputs differ between training and export"
        )
        return lines


def qat_notes(widths: Widths, method: str) -> str:
    """Return the `training.json` of integers that came of quantisation-aware training."""
    document = {"format": FORMAT, "kind": "qat", "widths": asdict(widths), "method": method}
    return json.dumps(document, indent=1, sort_keys=True) + "\n"
