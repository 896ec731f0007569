"""Wall time, processor time and peak memory of a whole process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process took."""

    wall_s: float
    peak_mb: float
    cpu_s: float  # of it and the processes that it waited for


def run(argv: Sequence[str], folder: Path) -> tuple[float, float]:
    """Return the wall time in seconds and the peak memory in MB of a process, started fresh."""
    used = usage_of(argv, folder)
    return used.wall_s, used.peak_mb


def usage_of(argv: Sequence[str], folder: Path) -> Usage:
    """Return what a process took, started fresh."""
    log = folder / "log"
    launcher = [sys.executable, "-S", str(Path(__file__).with_name("launch.py")), str(log), *argv]
    done = subprocess.run(launcher, capture_output=True, text=True, check=True, timeout=600)
    wall_s, peak_kb, code, cpu_s = done.stdout.split()
    if code != "0":
        raise RuntimeError(f"{' '.join(argv)} failed: {log.read_text()[-2000:]}")
    return Usage(float(wall_s), float(peak_kb) / 1024, float(cpu_s))
