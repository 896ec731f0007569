"""The verdict: what was checked, what was found, what is allowed, and whether the release may go
out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from quarl.errors import InputError
from quarl.evidence.closed_loop import ClosedLoop
from quarl.files.text import shortened
from quarl.profiles.figure import Kind

CHECK_NAME = re.compile(r"[a-z0-9_]{1,128}")

Group: TypeAlias = Literal[
    "import",
    "equality",
    "example",
    "calibration",
    "agreement",
    "closed loop",
    "robustness",
    "budget",
    "regression",
]


Relation: TypeAlias = Literal["at most", "at least"]


@dataclass(frozen=True, slots=True)
class Check:
    """One question of the gate and its answer."""

    name: str  # stable identifier: lower case letters, digits, underscores
    group: Group
    passed: bool | None  # None: reported, not judged
    found: float | None  # None: the evidence is missing, or the answer is no number
    allowed: float | None  # None: no limit
    relation: Relation  # how `found` must stand to `allowed`
    unit: str  # "" for a number without a unit
    kind: Kind
    detail: str  # what was found, for a reader who has not read our code
    advice: str = ""  # what to do next, where it failed
    # share by which `found` differs between runs of the same thing, where that was measured
    noise: float = 0.0
    where: str = ""  # the machine a measured figure belongs to

    def __post_init__(self) -> None:
        if CHECK_NAME.fullmatch(self.name) is None:
            raise InputError(
                f"a check is called {shortened(self.name)}: names have lower case letters, digits "
                "and underscores, at most 128; correct the budget, backend or evidence it is of"
            )

    @property
    def margin(self) -> float | None:
        """What is left up to the limit, in `unit`; negative: how far beyond it; None where nothing
        was found or there is no limit.
        """
        if self.found is None or self.allowed is None:
            return None
        return (
            self.allowed - self.found if self.relation == "at most" else self.found - self.allowed
        )


@dataclass(frozen=True, slots=True)
class Reason:
    """One measured hint at where a loss comes from, and what is known to help."""

    topic: Literal[
        "divergence", "layer", "saturation", "part", "ties", "decisions", "calibration", "trial"
    ]
    text: str  # with its numbers
    helps: bool = False  # whether it names a change that was measured to help


@dataclass(frozen=True, slots=True)
class Verdict:
    """All checks of one release."""

    policy: str
    checks: tuple[Check, ...]
    closed_loop: ClosedLoop | None = None
    # where the loss of quantisation sits, strongest hint first; empty where nothing points anywhere
    why: tuple[Reason, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether something was judged and nothing failed."""
        judged = [check.passed for check in self.checks if check.passed is not None]
        return bool(judged) and all(judged)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.passed is False)

    @property
    def int8_fails(self) -> bool:
        """Whether a check fails that the quantisation may be blamed for, so that `why` is of use."""
        return any(
            check.group in ("calibration", "agreement", "closed loop", "robustness")
            and check.found is not None
            for check in self.failed
        )
