"""Markdown for pull requests and for the summary page of a CI run: verdict first, failures with
advice, then every check.
"""

from __future__ import annotations

from pathlib import Path

from quarl.errors import InputError
from quarl.files.text import markdown_line
from quarl.verdict.formats.three_lines import three_lines
from quarl.verdict.formats.wording import ANSWERS, found_text, limit_text
from quarl.verdict.verdict import Check, Outcome, Verdict

_MARKS = {
    Outcome.PASS: "✅ pass",
    Outcome.FAIL: "❌ FAIL",
    Outcome.NOT_PROVEN: "❔ NOT PROVEN",
    Outcome.REPORTED: "➖ no limit",
}


def markdown_text(verdict: Verdict) -> str:
    """Return the verdict as Markdown."""
    said = three_lines(verdict)
    standing = (*verdict.failed, *verdict.unproven)
    count = sum(check.outcome.is_judged for check in verdict.checks)
    lines = [
        f"## quarl gate: {markdown_line(said.answer)}",
        "",
        f"- rests on: {markdown_line(said.basis)}",
        f"- next: {markdown_line(said.then)}",
        "",
        f"{count - len(standing)} of {count} checks pass.",
        "",
    ]
    if standing:
        lines += [
            f"- **{markdown_line(check.name)}** ({ANSWERS[check.outcome]}): "
            f"{markdown_line(check.detail)}. {markdown_line(check.advice)}"
            for check in standing
        ]
        lines.append("")
    if verdict.blames_int8 and verdict.why:
        lines += [
            "Where int8 differs from its source:",
            "",
            *(f"- {markdown_line(reason.text)}" for reason in verdict.why),
            "",
        ]
    lines += ["| check | verdict | found | allowed | made | what |", "|---|---|---:|---:|---|---|"]
    lines += [_row(check) for check in verdict.checks]
    return "\n".join(lines) + "\n"


def append_summary(verdict: Verdict, path: Path) -> None:
    """Append the Markdown to `path`, as a CI service collects it ($GITHUB_STEP_SUMMARY).

    Raises:
        InputError: the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(markdown_text(verdict) + "\n")
    except OSError as error:
        raise InputError(
            f"{path}: the summary cannot be written ({error.strerror or error})"
        ) from error


def _row(check: Check) -> str:
    cells = [
        check.name,
        _MARKS[check.outcome],
        found_text(check),
        limit_text(check),
        check.kind,
        check.detail,
    ]
    return "| " + " | ".join(markdown_line(cell) for cell in cells) + " |"
