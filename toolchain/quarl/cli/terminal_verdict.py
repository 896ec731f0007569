"""A verdict on a terminal: coloured, as wide as the window, the three lines last.

Goes in: a verdict and a console. Comes out: printed text; a pipe or a file gets
`quarl.cli.show_verdict.verdict_text` instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from quarl.files.text import terminal_text
from quarl.verdict.formats.three_lines import three_lines
from quarl.verdict.formats.wording import ANSWERS, found_text, limit_text
from quarl.verdict.verdict import Outcome

if TYPE_CHECKING:
    from quarl.verdict.verdict import Check, Verdict

_STYLES = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.NOT_PROVEN: "bold yellow",
    Outcome.REPORTED: "dim",
}


def print_verdict(verdict: Verdict, console: Console, *, verbose: bool = False) -> None:
    """Print the checks, what stands in the way of a release, and the three lines.

    Args:
        verbose: show figures without a limit too.
    """
    shown = [check for check in verdict.checks if verbose or check.outcome.is_judged]
    console.print(_table(shown))
    folded = len(verdict.checks) - len(shown)
    if folded:
        console.print(_text(f"{folded} figures without a limit are shown by -v", "dim"))
    for check in (*verdict.failed, *verdict.unproven):
        console.print()
        console.print(_text(check.name, _STYLES[check.outcome]), _text(check.detail))
        console.print(_text(check.advice, "italic"))
    if verdict.blames_int8 and verdict.why:
        console.print()
        console.print(_text("Where int8 differs from its source:", "bold"))
        for reason in verdict.why:
            console.print(_text(f"  {reason.text}"))
    said = three_lines(verdict)
    style = "bold green" if verdict.may_ship else _STYLES[verdict.answer]
    console.print()
    console.print(_text(said.answer, style))
    rows = Table.grid(padding=(0, 2))
    rows.add_row(_text("  rests on", "dim"), _text(said.basis))
    rows.add_row(_text("  next", "dim"), _text(said.then))
    console.print(rows)


def _table(checks: list[Check]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("", "check", "found", "allowed", "how"):
        table.add_column(title, overflow="fold")
    for check in checks:
        word = "pass" if check.outcome is Outcome.PASS else ANSWERS[check.outcome]
        cells = (check.name, found_text(check), limit_text(check), check.kind)
        table.add_row(_text(word, _STYLES[check.outcome]), *map(_text, cells))
    return table


def _text(words: str, style: str = "") -> Text:
    """Return words that are printed as they are: no markup, and no orders to the terminal."""
    return Text(terminal_text(words), style)
