"""What `quarl history` shows: text for people, and plain values for --json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from quarl.cli.table import table
from quarl.verdict.formats.wording import ANSWERS
from quarl.verdict.history import Answer, Change, Run
from quarl.verdict.verdict import Outcome

BAR_CELLS = 40
_STANDING = (Outcome.FAIL, Outcome.NOT_PROVEN)
_ANSWERS = {**ANSWERS, Outcome.PASS: "pass", Outcome.REPORTED: "reported"}


def runs_table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return runs as plain values."""
    return [asdict(run) for run in runs]


def runs_text(runs: Sequence[Run]) -> str:
    """Return runs as text, oldest first."""
    if not runs:
        return "no runs yet: quarl gate and quarl ship add them"
    rows = [
        (
            str(r.number),
            r.at,
            r.policy,
            r.board or "-",
            "-" if r.rung is None else str(r.rung),
            _ANSWERS[r.answer],
            r.commit[:9] or "-",
            r.host or "-",
            r.manifest_sha256[:12],
            r.version,
        )
        for r in runs
    ]
    head = ("run", "at (UTC)", "policy", "board", "rung", "verdict", "commit", "host", "manifest")
    return table((*head, "quarl"), rows)


def figures_table(figures: Sequence[tuple[Run, Answer]]) -> list[dict[str, Any]]:
    """Return a figure over runs as plain values."""
    return [
        {
            "run": run.number,
            "at": run.at,
            "policy": run.policy,
            "board": run.board,
            **asdict(answer),
        }
        for run, answer in figures
    ]


def figures_text(figures: Sequence[tuple[Run, Answer]]) -> str:
    """Return a figure over runs as bars from zero, oldest first; where some are negative, from the
    least.
    """
    values = [answer.found or 0.0 for _, answer in figures]
    low, high = min(0.0, *values), max(0.0, *values)
    span = high / 2 - low / 2 or 1.0  # halves, since the whole may be more than a float holds
    last = figures[-1][1]
    rows = [
        (
            str(run.number),
            run.at,
            run.policy,
            f"{value:,.6g}",
            _ANSWERS[answer.outcome] if answer.outcome in _STANDING else "",
            _bar((value / 2 - low / 2) / span),
        )
        for (run, answer), value in zip(figures, values, strict=True)
    ]
    limit = (
        "no limit"
        if last.allowed is None
        else f"limit now {last.allowed:,.6g} {last.unit}".rstrip()
    )
    title = (
        f"{last.name} in {last.unit or 'its own unit'} ({last.kind}); {limit}; bars from "
        f"{low:,.6g} to {high:,.6g}"
    )
    return f"{title}\n{table(('run', 'at (UTC)', 'policy', 'found', '', ''), rows)}"


def changes_table(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """Return the differences of two runs as plain values."""
    return [asdict(change) for change in changes]


def changes_text(changes: Sequence[Change], before: int, after: int) -> str:
    """Return the differences of two runs as text."""
    if not changes:
        return f"runs {before} and {after} answer the same"
    rows = [(change.name, *_answer(change.before), *_answer(change.after)) for change in changes]
    return table(("check", f"run {before}", "found", f"run {after}", "found"), rows)


def _answer(answer: Answer | None) -> tuple[str, str]:
    if answer is None:
        return "not made", ""
    return _ANSWERS[
        answer.outcome
    ], "" if answer.found is None else f"{answer.found:,.6g} {answer.unit}".rstrip()


def _bar(share: float) -> str:
    """Return a bar of whole cells and eighths of one."""
    eighths = round(share * BAR_CELLS * 8)
    return "\u2588" * (eighths // 8) + ("" if eighths % 8 == 0 else chr(0x2590 - eighths % 8))
