"""Follows a page of the docs as a reader does: its titled blocks become files, its commands run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "toolchain" / "docs"
BLOCK = re.compile(
    r'^```(?P<kind>\w+)(?: title="(?P<path>[^"]+)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL
)
PROGRAMS = {"quarl": [sys.executable, "-m", "quarl"], "python": [sys.executable]}


def follow(page: str, folder: Path) -> int:
    """Write the files of the page into the folder and run its `sh` lines there, in order.

    Returns:
        how many commands ran; each ended with exit code 0.
    """
    blocks = list(BLOCK.finditer((DOCS / page).read_text()))
    for block in blocks:
        if block["path"]:
            path = folder / block["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["text"])
    lines = [line for b in blocks if b["kind"] == "sh" for line in b["text"].splitlines()]
    for line in lines:
        program, *words = line.split()
        done = subprocess.run(
            [*PROGRAMS[program], *words], cwd=folder, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return len(lines)
