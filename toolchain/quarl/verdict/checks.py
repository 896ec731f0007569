"""How a check is made: a question, the figure, its limit. What is missing fails.

In: a `Question`, a figure, a limit, words. Out: `Check`s, so that every part of the gate words them
alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from quarl.profiles.figure import Kind
from quarl.verdict.verdict import Check, Group, Relation

SOFTER_INT8 = "Use a higher rung (--rung), or calibrate on more and more varied episodes"


@dataclass(frozen=True, slots=True)
class Question:
    """What a check asks, before there is an answer."""

    name: str
    group: Group
    relation: Relation = "at most"  # how the figure must stand to its limit
    unit: str = ""
    kind: Kind = "exact"


def judged(
    question: Question, figure: float, limit: float | None, detail: str, advice: str
) -> Check:
    """Return the check of a figure; the advice is given where it fails.

    Args:
        limit: None where the figure is only shown.
    """
    passed = None
    if limit is not None:
        passed = figure <= limit if question.relation == "at most" else figure >= limit
    return answered(question, passed, (figure, limit), detail, advice)


def answered(
    question: Question,
    passed: bool | None,
    figures: tuple[float | None, float | None],
    detail: str,
    advice: str,
) -> Check:
    """Return the check whose answer is known; the advice is given where it fails.

    Args:
        figures: the figure and its limit, each None where there is none.
    """
    return Check(
        question.name,
        question.group,
        passed,
        *figures,
        question.relation,
        question.unit,
        question.kind,
        detail,
        advice if passed is False else "",
    )


def missing(question: Question, limit: float | None, detail: str, advice: str) -> Check:
    """Return the failed check of something that was not gathered."""
    return answered(question, False, (None, limit), detail, advice)


def reported(question: Question, figure: float | None, detail: str) -> Check:
    """Return a figure that is shown and has no limit."""
    return answered(question, None, (figure, None), detail, "")
