"""The results page: a section for each part of the bench, with when and where it was measured.

A section that is measured again takes its own place; the others stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.row import Row

MARKS = {True: "ok", False: "MISS", None: ""}
HEAD = """# Measured results

Written by `make results`, or a section at a time by `python -m tests.bench SECTION --write`.
Every number was measured on the code as it stood then, unless its line says emulated (exact
instruction counts) or estimated. Each section says when and on which machine.
The shipped policies through the whole chain, returns, agreement, sizes and latencies:
[policies.md](policies.md).
"""


def write_page(
    path: Path, titles: Mapping[str, str], measured: Mapping[str, Sequence[Row]], machine: str
) -> None:
    """Write the sections that were measured into the page.

    Args:
        titles: of all sections by their name, in the order of the page.
        machine: what it was measured on, and when.
    """
    old = _sections(path.read_text()) if path.exists() else {}
    new = {titles[name]: _section(titles[name], rows, machine) for name, rows in measured.items()}
    kept = {**old, **new}
    order = [title for title in titles.values() if title in kept]
    path.write_text("\n".join([HEAD, *(kept[title] for title in order)]))


def _sections(page: str) -> dict[str, str]:
    """Return title -> text of a page's sections."""
    parts = page.split("\n## ")[1:]
    return {part.split("\n", 1)[0].strip(): f"## {part.rstrip()}\n" for part in parts}


def _section(title: str, rows: Sequence[Row], machine: str) -> str:
    lines = [f"## {title}", "", f"Measured on {machine}.", "", "| what | found | goal | |"]
    lines += ["|---|---|---|---|"]
    lines += [
        f"| {row.what.strip()} | {row.found} | {row.goal} | {MARKS[row.holds]} |" for row in rows
    ]
    return "\n".join(lines) + "\n"
