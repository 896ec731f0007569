"""The ESP32-C3: quarl's RV32 kernels beside plain C at -O2, in the same harness."""

from __future__ import annotations

from pathlib import Path

from quarl.resources import default_cache_dir
from tests.bench.row import Row
from tests.support.riscv_counts import plain_count, tuned_count

SHAPES = ("mlp", "mlp256", "nature")
LEAST_FACTOR = 1.5


def bench_riscv(folder: Path) -> list[Row]:
    """Instructions of one inference on an ESP32-C3 (RV32IMC, zig; emulated, they repeat exactly),
    beside plain C at -O2.
    """
    rows = []
    for name in SHAPES:
        ours = tuned_count(name, default_cache_dir())
        plain = plain_count(name, folder)
        factor = plain / ours
        rows.append(
            Row(
                f"{name} on esp32-c3 (plain C at -O2: {plain:,}, emulated)",
                f"{ours:,} instructions, {factor:.2f} times fewer",
                f">= {LEAST_FACTOR}",
                factor >= LEAST_FACTOR,
            )
        )
    return rows
