"""A comparison as CSV, as a Markdown table, and as a plot.

In: rows of `quarl.study.compare`. Out: text. The same rows give the same text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from quarl.files.svg_figure import COLOURS, plain_label, svg_figure
from quarl.files.text import markdown_line, sheet_text
from quarl.study.compare import OnBoard, Row

HEAD = (
    "policy",
    "method",
    "weights",
    "rung",
    "return",
    "lost % (95 %)",
    "agreement",
    "file, in C",
    "us",
)
COLUMNS = (
    "policy",
    "method",
    "weights",
    "rung",
    "episodes",
    "source_return",
    "mean_return",
    "loss_percent",
    "loss_low",
    "loss_high",
    "agreement",
    "model_bytes",
    "packed_bytes",
    "latency_us",
)
BOARD_COLUMNS = (
    "instructions",
    "latency_low_us",
    "latency_us",
    "latency_high_us",
    "flash_bytes",
    "ram_bytes",
)


def table_of(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and rows of text, for a terminal or for Markdown."""
    boards = _boards(rows)
    head = (*HEAD, *(f"{board}: us, flash, RAM" for board in boards))
    return head, [(*_cells(row), *(_board_cell(row, board) for board in boards)) for row in rows]


def comparison_csv(rows: Sequence[Row]) -> str:
    """Return every figure with six digits; a column for each figure of each board."""
    boards = _boards(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    named = [f"{board}_{column}" for board in boards for column in BOARD_COLUMNS]
    writer.writerow((*COLUMNS, *named, "problem"))
    for row in rows:
        figures = [getattr(row, column) for column in COLUMNS]
        for board in boards:
            figures += _board_figures(row, board)
        writer.writerow([*map(_plain, figures), sheet_text(row.problem)])
    return buffer.getvalue()


def comparison_markdown(rows: Sequence[Row]) -> str:
    """Return the table, and under it what could not be compared."""
    head, body = table_of(rows)
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(map(markdown_line, row))} |" for row in body]
    problems = [f"- {markdown_line(text)}" for text in problems_of(rows)]
    return "\n".join([*lines, *([""] if problems else []), *problems]) + "\n"


def problems_of(rows: Sequence[Row]) -> list[str]:
    """Return why figures are missing, a line each."""
    lines = [f"{row.policy}, {_name(row)}: {row.problem}" for row in rows if row.problem]
    lines += [
        f"{row.policy}, {_name(row)}: {place.reason}"
        for row in rows
        for place in row.boards
        if place.reason
    ]
    return list(dict.fromkeys(lines))


def comparison_svg(rows: Sequence[Row]) -> str:
    """Return what is lost of the return against the bytes, with its interval: of the parameters in
    C, or of the model file where a method has no C.

    Raises:
        ToolMissingError: matplotlib is not installed.
    """
    whole = [row for row in rows if row.loss_percent is not None and row.method != "float"]
    policies = list(dict.fromkeys(row.policy for row in whole))
    marks = {"quarl": "o", "tflite": "s", "ort": "^"}

    def draw(axes: Any) -> None:
        for place, policy in enumerate(policies):
            colour = COLOURS[place % len(COLOURS)]
            for row in (row for row in whole if row.policy == policy):
                low, middle, high = row.loss_low, row.loss_percent, row.loss_high
                assert low is not None
                assert middle is not None
                assert high is not None
                errors = [[max(0.0, middle - low)], [max(0.0, high - middle)]]
                axes.errorbar(
                    _stored(row), middle, yerr=errors, fmt=marks[row.method], color=colour, ms=5
                )
                axes.annotate(
                    _name(row),
                    (_stored(row), middle),
                    (4, 3),
                    textcoords="offset points",
                    size=6,
                )
            axes.plot([], [], "o", color=colour, label=plain_label(policy))
        axes.axhline(0, color="#888", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xlabel("bytes: parameters in C (quarl), model file (others)")
        axes.set_ylabel("return lost, % (95 % interval)")
        if policies:
            axes.legend(fontsize=8)

    return svg_figure(draw)


def _cells(row: Row) -> tuple[str, ...]:
    rung = "-" if row.rung is None else str(row.rung)
    head = (row.policy, row.method, row.weights, rung)
    if row.problem:
        return (*head, "-", "-", "-", "-", "-")
    played = row.mean_return is not None
    shown = f"{row.source_return:.5g} -> {row.mean_return:.5g}" if played else "not played"
    lost = f"{row.loss_percent:.2f} ({row.loss_low:.2f} to {row.loss_high:.2f})" if played else "-"
    return (
        *head,
        shown,
        lost,
        f"{row.agreement:.2%}",
        f"{row.model_bytes:,}" + ("" if row.packed_bytes is None else f", {row.packed_bytes:,}"),
        f"{row.latency_us:.1f}",
    )


def _stored(row: Row) -> int:
    return row.model_bytes if row.packed_bytes is None else row.packed_bytes


def _board_cell(row: Row, name: str) -> str:
    place = _place(row, name)
    if place is None:
        return "-"
    if place.latency_us is None:
        return "does not fit" if place.reason else "-"
    return f"{place.latency_us[1]:,.1f}, {place.flash_bytes:,}, {place.ram_bytes:,}"


def _board_figures(row: Row, name: str) -> list[Any]:
    place = _place(row, name)
    if place is None:
        return [None] * len(BOARD_COLUMNS)
    times = place.latency_us or (None, None, None)
    return [place.instructions, *times, place.flash_bytes, place.ram_bytes]


def _place(row: Row, name: str) -> OnBoard | None:
    return next((place for place in row.boards if place.board == name), None)


def _boards(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(place.board for row in rows for place in row.boards))


def _name(row: Row) -> str:
    rung = "" if row.rung is None else f" rung {row.rung}"
    return f"{row.method} {row.weights}{rung}"


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else sheet_text(value)
