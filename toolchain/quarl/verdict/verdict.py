"""The verdict: what was checked, what was found, what is allowed, and whether the release may go
out.

It has three answers. PASS: everything that has a limit is proven to hold it. FAIL: a loss beyond
the margin, a wrong integer or a missed budget was shown. NOT PROVEN: what was measured cannot
decide, or was not measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

from quarl.bundle.limits import NotProven
from quarl.errors import InputError
from quarl.evidence.closed_loop import ClosedLoop
from quarl.files.html_table import html_table
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


class Outcome(StrEnum):
    """How a check went."""

    PASS = "pass"
    FAIL = "fail"  # shown to break its limit
    NOT_PROVEN = "not_proven"  # neither shown to keep its limit nor to break it
    REPORTED = "reported"  # shown without a limit

    @property
    def is_judged(self) -> bool:
        """Whether the check has a limit, so that it counts."""
        return self is not Outcome.REPORTED


def outcome_of(holds: bool | None) -> Outcome:
    """Return the outcome of a figure that is known exactly; None: it has no limit."""
    return {True: Outcome.PASS, False: Outcome.FAIL, None: Outcome.REPORTED}[holds]


@dataclass(frozen=True, slots=True)
class Check:
    """One question of the gate and its answer."""

    name: str  # stable identifier: lower case letters, digits, underscores
    group: Group
    outcome: Outcome
    found: float | None  # None: the evidence is missing, or the answer is no number
    allowed: float | None  # None: no limit
    relation: Relation  # how `found` must stand to `allowed`
    unit: str  # "" for a number without a unit
    kind: Kind
    detail: str  # what was found, for a reader who has not read our code
    advice: str = ""  # what to do next, where it did not pass
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
    # whether what was measured and cannot decide stops the release
    not_proven: NotProven = "fail"
    # no episode was played, since the bundle names no environment: single decisions were judged
    decisions_only: bool = False
    manifest_sha256: str = ""  # of the bundle that was judged
    evidence_sha256: str = ""  # of the parity.json that was judged; "" where there was none
    run: str = ""  # who asked, in their own words: tells this verdict from one of another run

    def __repr__(self) -> str:
        """Return the answer and the names of the checks that failed."""
        failed = ", ".join(check.name for check in self.failed) or "nothing"
        return f"Verdict({self.policy!r}, {self.answer.value}, failed: {failed})"[:280]

    def _repr_html_(self) -> str:
        """Return the checks as a table for a notebook."""
        rows = [(check.name, check.outcome.value, check.detail) for check in self.checks]
        return html_table(f"quarl verdict on {self.policy}", rows)

    @property
    def answer(self) -> Outcome:
        """PASS, FAIL or NOT PROVEN; nothing judged is nothing proven."""
        judged = {check.outcome for check in self.checks if check.outcome.is_judged}
        if Outcome.FAIL in judged:
            return Outcome.FAIL
        return Outcome.PASS if judged == {Outcome.PASS} else Outcome.NOT_PROVEN

    @property
    def may_ship(self) -> bool:
        """Whether the release may go out.

        `not_proven = "warn"` lets pass what was measured and cannot decide. Evidence that was not
        gathered stops the release all the same.
        """
        if self.answer is Outcome.NOT_PROVEN and self.not_proven == "warn":
            return bool(self.unproven) and all(check.found is not None for check in self.unproven)
        return self.answer is Outcome.PASS

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that were shown to break their limits."""
        return tuple(check for check in self.checks if check.outcome is Outcome.FAIL)

    @property
    def unproven(self) -> tuple[Check, ...]:
        """The checks that what was measured cannot decide."""
        return tuple(check for check in self.checks if check.outcome is Outcome.NOT_PROVEN)

    @property
    def blames_int8(self) -> bool:
        """Whether a check does not pass that the quantisation may be blamed for, so that `why` is
        of use.
        """
        return any(
            check.group in ("calibration", "agreement", "closed loop", "robustness")
            and check.found is not None
            for check in (*self.failed, *self.unproven)
        )
