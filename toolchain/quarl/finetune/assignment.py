"""What a distillation is given and gives back. No torch: a command line reads it before it knows
whether torch is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quarl.errors import InputError
from quarl.finetune.record import Mark, Record
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


Tell = Callable[[Telling], None]


@dataclass(frozen=True, slots=True)
class Distilled:
    """The integers that won, and how."""

    policy: QuantPolicy
    record: Record
