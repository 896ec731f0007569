"""Rows of text in columns, within the width of a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from textwrap import wrap

LEAST = 10  # characters of a column that is made narrower
GAP = "  "


def table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return rows of text in columns; a column of numbers is aligned to the right.

    Args:
        width: characters of a line at most, by folding the widest columns of text; None: those of
            the terminal, or as many as there are where the text goes elsewhere.
    """
    lines = [list(header), *(list(row) for row in rows)]
    right = [all(_is_number(row[i]) for row in rows) and bool(rows) for i in range(len(header))]
    widths = _widths(lines, right, terminal_width() if width is None else width)
    shown = [row for line in lines for row in _folded(line, widths, right)]
    head = _folded(lines[0], widths, right)
    rule = GAP.join("-" * column for column in widths)
    return "\n".join([*head, rule, *shown[len(head) :]])


def terminal_width() -> int | None:
    """Return the columns of the terminal that results go to; None where they go elsewhere."""
    stream = sys.__stdout__
    if stream is None or not stream.isatty():
        return None
    return shutil.get_terminal_size().columns


def _widths(lines: list[list[str]], right: list[bool], most: int | None) -> list[int]:
    """Return the width of each column: what it holds, the widest texts cut where it is too much."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    if most is None:
        return widths
    while sum(widths) + len(GAP) * (len(widths) - 1) > most:
        texts = [i for i in range(len(widths)) if not right[i] and widths[i] > LEAST]
        if not texts:
            break
        widest = max(texts, key=lambda i: widths[i])
        widths[widest] -= 1
    return widths


def _folded(line: list[str], widths: list[int], right: list[bool]) -> list[str]:
    """Return one row as the lines of text it takes."""
    cells = [
        [cell] if len(cell) <= width else wrap(cell, width) or [""]
        for cell, width in zip(line, widths, strict=True)
    ]
    count = max(map(len, cells))
    padded = [cell + [""] * (count - len(cell)) for cell in cells]
    return [
        GAP.join(
            part.rjust(width) if is_right else part.ljust(width)
            for part, width, is_right in zip(parts, widths, right, strict=True)
        ).rstrip()
        for parts in zip(*padded, strict=True)
    ]


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").replace("-", "").isdigit() or not text
