"""Markdown for pull requests and for the summary page of a CI run: verdict first, failures with
advice, then every check.
"""

from __future__ import annotations

from pathlib import Path

from quarl.errors import InputError
from quarl.files.text import markdown_line
from quarl.verdict.formats.wording import found_text, limit_text
from quarl.verdict.verdict import Check, Verdict

_ANSWERS = {True: "✅ pass", False: "❌ FAIL", None: "➖ reported"}


def markdown_text(verdict: Verdict) -> str:
    """Return the verdict as Markdown."""
    failed = verdict.failed
    title = "pass" if verdict.passed else "fail"
    count = sum(check.passed is not None for check in verdict.checks)
    lines = [
        f"## quarl gate: {markdown_line(verdict.policy)}: {title}",
        "",
        f"{count - len(failed)} of {count} checks pass.",
        "",
    ]
    if failed:
        lines += [
            f"- **{markdown_line(check.name)}**: {markdown_line(check.detail)}. {markdown_line(check.advice)}"
            for check in failed
        ]
        lines.append("")
    if verdict.int8_fails:
        lines += [
            "Where the loss sits:",
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
        _ANSWERS[check.passed],
        found_text(check),
        limit_text(check),
        check.kind,
        check.detail,
    ]
    return "| " + " | ".join(markdown_line(cell) for cell in cells) + " |"
