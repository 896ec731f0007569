"""A verdict in three lines: the answer, what it rests on, and what to do next. The same three open
the terminal's text, the Markdown and the report.

In: a verdict. Out: `ThreeLines`.
"""

from __future__ import annotations

from typing import NamedTuple

from quarl.evidence.closed_loop import ClosedLoop
from quarl.verdict.formats.wording import found_text, headline, limit_text
from quarl.verdict.verdict import Check, Verdict

PASSED = "release it, and hold later releases to it: quarl baseline set BUNDLE"
ALLOWED = 'it may go out because [gate] says not_proven = "warn"; to prove it: '


class ThreeLines(NamedTuple):
    """What is said first."""

    answer: str
    basis: str
    then: str

    def __str__(self) -> str:
        return f"{self.answer}\n  rests on  {self.basis}\n  next      {self.then}"


def three_lines(verdict: Verdict) -> ThreeLines:
    """Return the verdict in three lines."""
    return ThreeLines(headline(verdict), _basis(verdict), _next(verdict))


def _basis(verdict: Verdict) -> str:
    """Return what decided: the check that stands in the way, or else the episodes or decisions."""
    standing = (*verdict.failed, *verdict.unproven)
    loop = verdict.closed_loop
    if standing and (loop is None or standing[0].group != "closed loop"):
        return _stated(standing[0])
    if loop is not None:
        return _loop_text(loop)
    passing = [check for check in verdict.checks if check.outcome.is_judged]
    decisions = [check for check in passing if check.group == "agreement"]
    if verdict.decisions_only and decisions:
        return "; ".join(_stated(check) for check in decisions)
    alone = any(check.name == "source_comparison" for check in verdict.checks)
    why = "there is no full-precision source" if alone else "no episodes were compared"
    return f"{len(passing)} checks with a limit; {why}"


def _stated(check: Check) -> str:
    if check.found is None:
        return f"{check.name}: {check.detail}"
    return f"{check.name}: {found_text(check)}, {limit_text(check)}"


def _loop_text(loop: ClosedLoop) -> str:
    mean, failures = loop.mean, loop.failures
    text = (
        f"mean return {mean.mean_source:.4g} -> {mean.mean_candidate:.4g} over {loop.episodes} "
        f"pairs, a loss of at most {max(0.0 - mean.lower, 0.0):.3g} where {mean.margin:.3g} is "
        "allowed"
    )
    if loop.chaos.widens:
        text += f" ({loop.chaos.share:g} of what a float64 copy moves an episode by)"
    if failures is None:
        return text
    return (
        f"{text}; failures {failures.failures_source} -> {failures.failures_candidate}, a rise of "
        f"at most {100 * max(failures.upper, 0.0):.3g} points where {100 * failures.margin:.3g} "
        "are allowed"
    )


def _next(verdict: Verdict) -> str:
    standing = (*verdict.failed, *verdict.unproven)
    if not standing:
        return PASSED if verdict.may_ship else "nothing was judged: run quarl parity BUNDLE"
    more = f" ({len(standing) - 1} more below)" if len(standing) > 1 else ""
    advice = f"{standing[0].advice}{more}"
    return f"{ALLOWED}{advice}" if verdict.may_ship else advice
