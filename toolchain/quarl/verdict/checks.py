"""How a check is made: a question, the figure, its limit. What is missing proves nothing.

In: a `Question`, a figure, a limit, words. Out: `Check`s, so that every part of the gate words them
alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from quarl.profiles.figure import Kind
from quarl.verdict.verdict import Check, Group, Outcome, Relation, outcome_of

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
    holds = None
    if limit is not None:
        holds = figure <= limit if question.relation == "at most" else figure >= limit
    return answered(question, outcome_of(holds), (figure, limit), detail, advice)


def answered(
    question: Question,
    outcome: Outcome,
    figures: tuple[float | None, float | None],
    detail: str,
    advice: str,
) -> Check:
    """Return the check whose answer is known; the advice is given where it does not pass.

    Args:
        figures: the figure and its limit, each None where there is none.
    """
    return Check(
        question.name,
        question.group,
        outcome,
        *figures,
        question.relation,
        question.unit,
        question.kind,
        detail,
        advice if outcome in (Outcome.FAIL, Outcome.NOT_PROVEN) else "",
    )


def missing(question: Question, limit: float | None, detail: str, advice: str) -> Check:
    """Return the check of something that was not gathered, so that nothing is proven."""
    return answered(question, Outcome.NOT_PROVEN, (None, limit), detail, advice)


def reported(question: Question, figure: float | None, detail: str) -> Check:
    """Return a figure that is shown and has no limit."""
    return answered(question, Outcome.REPORTED, (figure, None), detail, "")
