"""The verdict: what was checked, what was found, what is allowed, and whether the release may go out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from quarl.closed_loop import ClosedLoop

Group: TypeAlias = Literal["import", "equality", "example", "agreement", "closed loop", "budget", "regression"]
Kind: TypeAlias = Literal["exact", "tested", "measured", "emulated", "estimated"]
"""How a figure was made: exact (the same on every run), tested (a confidence bound), measured (a clock on the device),
emulated (exact instruction counts), estimated (a model, with its assumptions)."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question of the gate and its answer."""

    name: str  # stable identifier: letters, digits, underscores
    group: Group
    passed: bool | None  # None: reported, not judged
    found: float | None  # None: the evidence is missing, or the answer is no number
    allowed: float | None  # None: no limit
    relation: Literal["at most", "at least"]  # how `found` must stand to `allowed`
    unit: str  # "" for a number without a unit
    kind: Kind
    detail: str  # what was found, for a reader who has not read our code
    advice: str = ""  # what to do next, where it failed


@dataclass(frozen=True, slots=True)
class Verdict:
    """All checks of one release."""

    policy: str
    checks: tuple[Check, ...]
    closed_loop: ClosedLoop | None = None

    @property
    def passed(self) -> bool:
        """Whether something was judged and nothing failed."""
        judged = [check.passed for check in self.checks if check.passed is not None]
        return bool(judged) and all(judged)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.passed is False)
