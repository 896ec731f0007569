"""The history for other programs: every check as CSV, one figure over the runs as curves.

In: runs with their answers. Out: text; the same runs give the same text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from quarl.files.svg_figure import COLOURS, plain_label, svg_figure
from quarl.files.text import sheet_text
from quarl.verdict.history import Answer, Run

_RUN_FIELDS = [field.name for field in fields(Run)]
_ANSWER_FIELDS = [field.name for field in fields(Answer)]


def history_csv(answers: Iterable[tuple[Run, Answer]]) -> str:
    """Return one row a check: what its run was, and what it found."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*_RUN_FIELDS, "check", *_ANSWER_FIELDS[1:]])
    for run, answer in answers:
        values = [getattr(run, name) for name in _RUN_FIELDS]
        values += [getattr(answer, name) for name in _ANSWER_FIELDS]
        writer.writerow(map(sheet_text, values))
    return buffer.getvalue()


def curves_svg(figures: Sequence[tuple[Run, Answer]]) -> str:
    """Return what a check found, a curve for each policy and board, with the limit of each run.

    Raises:
        ToolMissingError: matplotlib is not installed.
    """
    lines: dict[str, list[tuple[Run, Answer]]] = {}
    for run, answer in figures:
        name = plain_label(f"{run.policy} {run.board}".strip())
        lines.setdefault(name, []).append((run, answer))

    def draw(axes: Any) -> None:
        for place, (name, points) in enumerate(lines.items()):
            colour = COLOURS[place % len(COLOURS)]
            numbers = [run.number for run, _ in points]
            axes.plot(numbers, [a.found for _, a in points], "o-", color=colour, label=name, ms=4)
            limits = [(run.number, a.allowed) for run, a in points if a.allowed is not None]
            if limits:
                axes.step(*zip(*limits, strict=True), "--", where="mid", color=colour, alpha=0.6)
        last = figures[-1][1]
        axes.set_xlabel("run (dashed: its limit)")
        axes.set_ylabel(plain_label(f"{last.name}, {last.unit}".rstrip(", ")))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize=8)

    return svg_figure(draw)
