"""Whether the gate refuses a candidate so that another one could pass, and the tries of a ship as a
check.

In: a verdict, or the tries that a bundle tells of. Out: a reason in words, or a check that is
shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quarl.bundle.limits import Limits
from quarl.bundle.rung_result import Attempt, RungResult
from quarl.verdict.checks import Question, reported
from quarl.verdict.verdict import Check, Outcome, Verdict

_OF_INTEGERS = ("agreement", "closed loop", "robustness")  # groups that other integers may pass
_OF_ALL = ("import", "equality", "example", "calibration")  # groups that no other integers pass
_SOURCE = "source_return"


def refusal_of(verdict: Verdict) -> str:
    """Return what the gate refuses of these integers that others could keep; "" where it refuses
    nothing, or nothing that is theirs.

    What no other integers would change: the import, the source's own return, evidence that was not
    gathered, and a return that moves no further than that of a float64 copy of the source.
    """
    if verdict.may_ship:
        return ""
    wanting = (*verdict.failed, *verdict.unproven)
    loop = verdict.closed_loop
    is_chaos = loop is not None and loop.is_as_chaotic_as_its_source
    if any(check.group in _OF_ALL or check.name == _SOURCE for check in wanting) or (
        is_chaos and verdict.answer is Outcome.NOT_PROVEN
    ):
        return ""
    theirs = [one for one in wanting if one.group in _OF_INTEGERS and one.found is not None]
    return "; ".join(_in_words(check) for check in theirs)


def _in_words(check: Check) -> str:
    allowed = "" if check.allowed is None else f", allowed {check.allowed:.4g}"
    answer = "fails" if check.outcome is Outcome.FAIL else "not proven"
    return f"{check.name} {check.found:.4g} {check.unit}{allowed} ({answer})"


def tries_checks(
    attempt: Attempt, refused: Sequence[RungResult], limits: Limits
) -> Iterator[Check]:
    """Yield which candidates the gate has refused before, where it has; it is shown."""
    if not refused:
        return
    named = "; ".join(
        f"try {one.attempt.number}, rung {one.rung} ({one.name}): {one.attempt.refused}"
        for one in refused
        if one.attempt is not None
    )
    detail = f"the gate refused {len(refused)} before ({named}); {attempt.sentence(limits.alpha)}"
    yield reported(Question("tries", "closed loop"), float(attempt.number), detail)
