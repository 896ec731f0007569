"""What evidence and verdicts show, as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from quarl.bundle.limits import Limits
from quarl.bundle.release import Release
from quarl.cli.table import table
from quarl.evidence.evidence import Evidence
from quarl.verdict.baseline import Baseline
from quarl.verdict.explanations import Explanation
from quarl.verdict.verdict import Check, Outcome, Verdict


def evidence_text(evidence: Evidence, release: Release, limits: Limits | None = None) -> str:
    """Return the evidence as text: the gate's checks against the limits, or the bundle's own,
    without a verdict.
    """
    from quarl.verdict.judge import judge

    return checks_text(
        judge(
            evidence,
            limits or release.manifest.limits,
            policy=release.manifest.name,
            can_play=release.manifest.env is not None,
        ).checks
    )


def explanation_text(explanation: Explanation, checks: Sequence[Check] = ()) -> str:
    """Return what a check means as text, and what was found where it was made."""
    parts = (
        ("", explanation.meaning),
        ("Limit: ", explanation.limit),
        ("If it fails: ", explanation.remedy),
    )
    texts = [
        fill(f"{head}{text}", 100, initial_indent="  ", subsequent_indent="  ")
        for head, text in parts
    ]
    details = [f"{check.name}: {check.detail}" for check in checks]
    return "\n".join(
        [explanation.name, *texts, *([checks_text(checks), *details] if checks else [])]
    )


def baseline_text(baseline: Baseline, path: Path) -> str:
    """Return a baseline as text: its figures that a later release is held against."""
    rung = "" if baseline.rung is None else f" on rung {baseline.rung}"
    board = "" if baseline.board is None else f" for {baseline.board}"
    tools = ", ".join(f"{name} {release}" for name, release in sorted(baseline.tools.items()))
    return "\n".join(
        [
            f"{path}: {baseline.policy}{rung}{board}",
            *([tools] if tools else []),
            checks_text(baseline.checks),
        ]
    )


def verdict_text(verdict: Verdict, *, verbose: bool = False) -> str:
    """Return the verdict as text: the checks, then three lines, then each check that stands in the
    way.

    Args:
        verbose: show figures without a limit too.
    """
    from quarl.verdict.formats.three_lines import three_lines

    shown = [check for check in verdict.checks if verbose or check.outcome.is_judged]
    folded = len(verdict.checks) - len(shown)
    more = [f"{folded} figures without a limit are shown by -v"] if folded else []
    lines = [
        f"  {check.name}: {check.detail}\n    {check.advice}"
        for check in (*verdict.failed, *verdict.unproven)
    ]
    if verdict.blames_int8 and verdict.why:
        lines += ["Where int8 differs from its source:"]
        lines += [f"  {reason.text}" for reason in verdict.why]
    return "\n".join([checks_text(shown), *more, "", str(three_lines(verdict)), *lines])


def checks_text(checks: Sequence[Check]) -> str:
    """Return checks as a table: found beside allowed, and how the figure was made; below it why
    some could not be judged.
    """
    from quarl.verdict.formats.wording import ANSWERS, found_text, limit_text

    word = {**ANSWERS, Outcome.PASS: "pass", Outcome.REPORTED: "-"}
    rows = [(word[c.outcome], c.name, found_text(c), limit_text(c), c.kind) for c in checks]
    open_questions = [
        f"{c.name}: {c.detail}" for c in checks if c.outcome is Outcome.REPORTED and c.found is None
    ]
    return "\n".join([table(("", "check", "found", "allowed", "how"), rows), *open_questions])
