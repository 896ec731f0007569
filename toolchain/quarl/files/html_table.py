"""A table for notebooks: text and numbers, everything escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def html_table(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table with a caption; the first cell of a row is its heading."""
    body = "".join(
        "<tr>"
        + "".join(
            f"<{tag}>{escape(cell)}</{tag}>"
            for tag, cell in zip(("th", *("td" for _ in row[1:])), row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><caption>{escape(title)}</caption>{body}</table>"
