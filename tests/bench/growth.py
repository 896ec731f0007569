"""How cost grows: the same work at two sizes, and the ratio of what it takes."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from quarl.tools import ONE_THREAD
from tests.bench.process import usage_of
from tests.bench.row import Row

ROUNDS = 2  # the least of which counts: other programs only make it longer
SLACK = 1.3  # of the ratio of sizes, beyond which cost grows faster than the work
MOST_MB = 600


@dataclass(frozen=True, slots=True)
class Growth:
    """One thing that grows."""

    kind: str  # as tests.bench.growth_job names it
    what: str
    sizes: tuple[int, int]
    is_flat: bool = False  # the time stays the same
    most_mb: int | None = None  # at the larger size


GROWTHS = (
    Growth("observations", "observations of 24 features", (100_000, 1_000_000), most_mb=MOST_MB),
    Growth("parameters", "parameters of a ReLU network", (100_000, 1_000_000)),
    Growth("layers", "layers of 64", (8, 32)),
    Growth("episodes", "paired episodes", (4_000, 64_000), most_mb=MOST_MB),
    Growth("history", "runs kept, of which one more is recorded", (100, 100_000), is_flat=True),
)


def bench_growth(folder: Path) -> list[Row]:
    """How cost grows: processor time and peak memory of the same work at two sizes, each in a
    process of its own. Observations, parameters and layers are quantised on rung 2, episodes are
    compared as parity does.
    """
    return [row for growth in GROWTHS for row in _rows(growth, folder)]


def _rows(growth: Growth, folder: Path) -> list[Row]:
    small, large = (_measured(growth.kind, size, folder) for size in growth.sizes)
    times = large["cpu_s"] / small["cpu_s"]
    size_ratio = growth.sizes[1] / growth.sizes[0]
    most = SLACK if growth.is_flat else SLACK * size_ratio
    found = (
        f"{small['cpu_s']:.3g} s, {small['peak_mb']:.0f} MB -> {large['cpu_s']:.3g} s, "
        f"{large['peak_mb']:.0f} MB: {times:.2f} times the time"
    )
    rows = [
        Row(
            f"{growth.sizes[0]:,} -> {growth.sizes[1]:,} {growth.what}",
            found,
            f"<= {most:.3g} times",
            times <= most,
        )
    ]
    if growth.most_mb is not None:
        peak = large["peak_mb"]
        rows.append(
            Row(
                "  peak memory", f"{peak:.0f} MB", f"<= {growth.most_mb} MB", peak <= growth.most_mb
            )
        )
    return rows


def _measured(kind: str, size: int, folder: Path) -> dict[str, float]:
    """Return the least of a few measurements."""
    threads = [f"{name}={value}" for name, value in ONE_THREAD.items()]
    argv = ["env", *threads, sys.executable, "-m", "tests.bench.growth_job", kind, str(size)]
    found = []
    for _ in range(ROUNDS):
        peak_mb = usage_of(argv, folder).peak_mb
        cpu_s = json.loads((folder / "log").read_text().splitlines()[-1])["cpu_s"]
        found.append({"cpu_s": cpu_s, "peak_mb": peak_mb})
    return {key: min(one[key] for one in found) for key in ("cpu_s", "peak_mb")}
