"""The whole chain side by side with the version before the rooms, taking turns."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

from tests.bench.process import run
from tests.bench.row import Row

COMMIT = "47507c3"  # the last one whose package was flat
ROUNDS = 5
SLACK = 1.05  # what two measurements of the same code differ by
ROOT = Path(__file__).parents[2]


def bench_before(folder: Path) -> list[Row]:
    """`quarl ship nav_ppo` of today and of the commit before the rooms, whole processes."""
    what = f"quarl ship nav_ppo, of the wall time of {COMMIT}"
    old = folder / "before"
    if not _unpack(old):
        return [Row(what, f"not measured: {COMMIT} is not in this clone", "<= 1", None)]
    jobs = {"now": ROOT / "toolchain", "before": old / "toolchain"}
    walls: dict[str, list[float]] = {name: [] for name in jobs}
    peaks: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(ROUNDS):
        for name, package in jobs.items():
            out = folder / name / "nav"
            shutil.rmtree(out, ignore_errors=True)
            quarl = ["env", f"PYTHONPATH={package}", sys.executable, "-m", "quarl"]
            wall, peak = run([*quarl, "ship", "nav_ppo", "--no-history", "--out", str(out)], folder)
            walls[name].append(wall)
            peaks[name].append(peak)
    time, memory = ({name: median(values) for name, values in of.items()} for of in (walls, peaks))
    return [
        Row(
            what,
            f"{time['now'] / time['before']:.2f} ({time['now']:.1f} s against "
            f"{time['before']:.1f})",
            f"<= 1, {SLACK:g} with noise",
            time["now"] <= SLACK * time["before"],
        ),
        Row(
            "  of its peak memory",
            f"{memory['now'] / memory['before']:.2f} ({memory['now']:.0f} MB against "
            f"{memory['before']:.0f})",
            f"<= 1, {SLACK:g} with noise",
            memory["now"] <= SLACK * memory["before"],
        ),
    ]


def _unpack(folder: Path) -> bool:
    """Write the tree of the commit; return whether the clone has it."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode != 0:
        return False
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    return True
