"""The whole chain side by side with the version before the rooms, taking turns."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

from tests.bench.process import Usage, usage_of
from tests.bench.row import Row

COMMIT = "47507c3"  # the last one whose package was flat
ROUNDS = 3
MOST_WALL = 0.6  # of the time before
SLACK = 1.05  # what two measurements of the same code differ by
ROOT = Path(__file__).parents[2]


def bench_before(folder: Path) -> list[Row]:
    """`quarl ship nav_ppo` of today and of the commit before the rooms, whole processes."""
    what = f"quarl ship nav_ppo, of the wall time of {COMMIT}"
    old = folder / "before"
    if not _unpack(old):
        return [Row(what, f"not measured: {COMMIT} is not in this clone", "", None)]
    jobs = {"now": ROOT / "toolchain", "before": old / "toolchain"}
    used: dict[str, list[Usage]] = {name: [] for name in jobs}
    for _ in range(ROUNDS):
        for name, package in jobs.items():
            out = folder / name / "nav"
            shutil.rmtree(out, ignore_errors=True)
            quarl = ["env", f"PYTHONPATH={package}", sys.executable, "-m", "quarl"]
            ship = [*quarl, "ship", "nav_ppo", "--no-history", "--out", str(out)]
            used[name].append(usage_of(ship, folder))
    wall, cpu, peak = (
        {name: median(getattr(one, what) for one in of) for name, of in used.items()}
        for what in ("wall_s", "cpu_s", "peak_mb")
    )
    return [
        Row(
            what,
            f"{wall['now'] / wall['before']:.2f} ({wall['now']:.1f} s against "
            f"{wall['before']:.1f})",
            f"<= {MOST_WALL} on two free cores",
            wall["now"] <= MOST_WALL * wall["before"] if _is_free() else None,
        ),
        Row(
            "  of its processor time",
            f"{cpu['now'] / cpu['before']:.2f} ({cpu['now']:.1f} s against {cpu['before']:.1f})",
            "",
            None,
        ),
        Row(
            "  of its peak memory",
            f"{peak['now'] / peak['before']:.2f} ({peak['now']:.0f} MB against "
            f"{peak['before']:.0f})",
            f"<= 1, {SLACK:g} with noise",
            peak["now"] <= SLACK * peak["before"],
        ),
    ]


def _is_free() -> bool:
    """Whether this machine has two cores for what is measured: wall times mean little otherwise."""
    return os.getloadavg()[0] < (os.cpu_count() or 1)


def _unpack(folder: Path) -> bool:
    """Write the tree of the commit; return whether the clone has it."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode != 0:
        return False
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    return True
