"""Wall time and peak memory of a whole process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run(argv: Sequence[str], folder: Path) -> tuple[float, float]:
    """Return the wall time in seconds and the peak memory in MB of a process, started fresh."""
    log = folder / "log"
    launcher = [sys.executable, "-S", str(Path(__file__).with_name("launch.py")), str(log), *argv]
    done = subprocess.run(launcher, capture_output=True, text=True, check=True, timeout=600)
    wall_s, peak_kb, code = done.stdout.split()
    if code != "0":
        raise RuntimeError(f"{' '.join(argv)} failed: {log.read_text()[-2000:]}")
    return float(wall_s), float(peak_kb) / 1024
