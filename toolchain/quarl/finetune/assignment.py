"""What a distillation is given and gives back. No torch: a command line reads it before it knows
whether torch is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quarl.errors import InputError
from quarl.finetune.record import Candidate, Mark, Record
from quarl.graph.quant_policy import QuantPolicy
from quarl.quantize.widths import Widths

TRAINING = "training.json"  # of a bundle


@dataclass(frozen=True, slots=True)
class Assignment:
    """What is to be learned, and for how long."""

    widths: Widths
    minutes: float = 3.0  # of learning and playing, all candidates together
    seed: int = 0
    steps: int | None = None  # of each candidate, whatever the time; then a run can be repeated
    keeps_best: bool = True  # where it is interrupted; False: the interrupt is the caller's

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise InputError(f"--minutes {self.minutes:g}: must be above 0")


@dataclass(frozen=True, slots=True)
class Telling:
    """Where a distillation stands, for people."""

    candidate: str
    done: float  # share of the candidate's schedule
    mark: Mark
    mean_return: float | None  # of the student's own latest episodes

    def sentence(self) -> str:
        """Return where the training stands, as a line for people."""
        mark, played = self.mark, self.mean_return
        returned = "" if played is None else f"  own return {played:9.2f}"
        return (
            f"{self.candidate:>15} {self.done:4.0%}  {mark.step:>7,} steps  {mark.seconds:6.0f} s"
            f"  loss {mark.loss:8.4f}  agreement {mark.agreement:7.2%}  error {mark.error:9.3g}"
            f"{returned}"
        )


@dataclass(frozen=True, slots=True)
class Outlook:
    """What can be said before anything is learned."""

    widths: Widths
    ceiling: float | None  # agreement that the rounding of observations alone allows
    rounded: Candidate | None  # the best that rounding gives; None where it is not possible
    observations: int  # to learn from

    def sentence(self) -> str:
        """Return it as a line for people."""
        parts = []
        if self.ceiling is not None:
            parts.append(f"the rounding of observations alone allows {self.ceiling:.2%}")
        if self.rounded is not None:
            parts.append(f"the best rounding reaches {self.rounded.agreement:.2%}")
        parts.append(f"{self.observations:,} observations to learn from")
        return f"{'; '.join(parts)} ({self.widths.sentence()})"


Tell = Callable[[Telling | Outlook], None]


@dataclass(frozen=True, slots=True)
class Distilled:
    """The integers that won, and how."""

    policy: QuantPolicy
    record: Record
