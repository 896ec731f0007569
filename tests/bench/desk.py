"""What a user waits for at the desk: the table of candidates, and the documentation as a site."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bench.process import run
from tests.bench.row import Row

MOST_COMPARE_S, MOST_SITE_S = 300.0, 60.0
SETTINGS = Path(__file__).parents[2] / "mkdocs.yml"


def bench_desk(folder: Path) -> list[Row]:
    """Whole processes, on two cores."""
    compare = ["compare", "cartpole_ppo", "nav_ppo", "--methods", "quarl,tflite,ort"]
    compare += ["--weights", "int8,int4,int2", "--csv", str(folder / "table.csv")]
    compare_s, _ = run([sys.executable, "-m", "quarl", *compare], folder)
    rows = len((folder / "table.csv").read_text().splitlines()) - 1
    site = ["-m", "mkdocs", "build", "--strict", "-f", str(SETTINGS), "-d", str(folder / "site")]
    site_s, _ = run([sys.executable, *site], folder)
    return [
        Row(
            f"quarl compare, 3 methods, 3 widths, 2 policies: {rows} rows of 100 paired episodes",
            f"{compare_s:.0f} s",
            f"<= {MOST_COMPARE_S:.0f} s",
            compare_s <= MOST_COMPARE_S,
        ),
        Row(
            "the documentation as a site, built strictly",
            f"{site_s:.0f} s",
            f"<= {MOST_SITE_S:.0f} s",
            site_s <= MOST_SITE_S,
        ),
    ]
