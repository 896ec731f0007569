"""Fuzz one reader with coverage guidance, as long as told: python -m tests.fuzz tflite 600. Needs
atheris, which nothing else here does.

New inputs that reach new code are kept in a folder of the working directory; a crash is written
beside them. Small ones go to corpus/.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

with atheris.instrument_imports(
    include=["quarl.importers.tflite", "quarl.importers.tflite.file", "quarl.links.frames"]
):
    from tests.fuzz.targets import CORPUS, TARGETS

name, seconds = sys.argv[1], sys.argv[2]
kept = Path(f"fuzz-{name}")
kept.mkdir(exist_ok=True)
atheris.Setup(
    [
        sys.argv[0],
        str(kept),
        str(CORPUS / name),
        f"-max_total_time={seconds}",
        "-rss_limit_mb=4000",
    ],
    TARGETS[name],
)
atheris.Fuzz()
