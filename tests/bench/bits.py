"""The table of the studies `bits_long` and `bits`, as training.md holds it:
python -m tests.bench.bits
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence

from quarl.resources import models_dir

STUDIES = ("bits_long", "bits")
WIDTHS = ((8, 8, 8), (8, 8, 12), (4, 8, 12), (4, 4, 12), (3, 8, 12), (2, 8, 12))
Row = dict[str, str]


def table() -> str:
    """Return Markdown: a policy has a line for what decides alike, and one for what is lost."""
    rows = [row for study in STUDIES for row in rows_of(study)]
    heads = (f"{weights}/{activations}, {inputs}" for weights, activations, inputs in WIDTHS)
    lines = [f"| policy | | {' | '.join(heads)} |", "|---" * (len(WIDTHS) + 2) + "|"]
    for policy in dict.fromkeys(row["policy"] for row in rows):
        own = [[row for row in rows if _is(row, policy, widths)] for widths in WIDTHS]
        name = f"`{policy}` ({own[0][0]['algorithm']})"
        for title, method, cell in (
            ("rounded", "ladder", _alike),
            ("distilled", "distil", _alike),
            ("rounded: lost", "ladder", _lost),
            ("distilled: lost", "distil", _lost),
        ):
            cells = (cell([r for r in found if r["method"] == method]) for found in own)
            lines.append(f"| {name} | {title} | {' | '.join(cells)} |")
            name = ""
    return "\n".join(lines) + "\n"


def rows_of(study: str) -> list[Row]:
    """Return the cells of a study that ships with its results."""
    path = models_dir() / "studies" / study / "results.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _is(row: Row, policy: str, widths: tuple[int, int, int]) -> bool:
    found = int(row["weights"]), int(row["activations"]), int(row["inputs"])
    return row["policy"] == policy and found == widths


def _alike(rows: Sequence[Row]) -> str:
    """Share of equal actions, or error of continuous ones: the mean of the trainings, in %."""
    mean = 100 * statistics.mean(float(row["agreement"]) for row in rows)
    return f"{100 - mean:.2f} off" if rows[0]["algorithm"] in ("SAC", "DDPG") else f"{mean:.1f}"


def _lost(rows: Sequence[Row]) -> str:
    """Relative error, the mean of the trainings, and the worst of several."""
    lost = [float(row["relative_error"]) for row in rows]
    mean = f"{statistics.mean(lost):.1f}".replace("-0.0", "0.0")
    return mean if len(lost) == 1 else f"{mean} ({max(lost):.1f})".replace("-0.0", "0.0")


if __name__ == "__main__":
    print(table())
