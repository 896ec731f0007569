"""A verdict as annotations of GitHub Actions: a line for each check that stands in the way.

In: a verdict, or the message of an error. Out: workflow commands, one a line. Texts are data: what
would end a command or a property of it is written as GitHub escapes it.
"""

from __future__ import annotations

from quarl.files.text import printable
from quarl.verdict.formats.three_lines import three_lines
from quarl.verdict.verdict import Check, Outcome, Verdict

MOST_ANNOTATIONS = 9  # beside the headline; GitHub shows ten of a step
_LEVELS = {Outcome.FAIL: "error", Outcome.NOT_PROVEN: "warning"}


def annotation_lines(verdict: Verdict) -> str:
    """Return the headline, then what failed or is not proven."""
    said = three_lines(verdict)
    level = "notice" if verdict.may_ship else "error"
    standing = (*verdict.failed, *verdict.unproven)[:MOST_ANNOTATIONS]
    head = command(level, "quarl gate", f"{said.answer}\nrests on: {said.basis}\nnext: {said.then}")
    return "\n".join([head, *(_line(check) for check in standing)])


def command(level: str, title: str, message: str) -> str:
    """Return one workflow command: `level` is notice, warning or error."""
    return f"::{level} title={_property(title)}::{_data(message)}"


def _line(check: Check) -> str:
    level = _LEVELS.get(check.outcome, "notice")
    return command(level, f"quarl: {check.name}", f"{check.detail}\n{check.advice}")


def _data(text: str) -> str:
    text = "\n".join(map(printable, text.split("\n")))
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
