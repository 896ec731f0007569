"""The page on training, followed from top to bottom: its files are written, its commands run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import need

pytestmark = [pytest.mark.e2e, pytest.mark.train]
PAGE = Path(__file__).parents[2] / "toolchain" / "docs" / "training.md"
BLOCK = re.compile(
    r'^```(?P<kind>\w+)(?: title="(?P<path>[^"]+)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL
)


def test_every_command_of_the_page_runs_on_the_files_of_the_page(tmp_path: Path) -> None:
    need("torch", "stable_baselines3", "matplotlib")
    blocks = list(BLOCK.finditer(PAGE.read_text()))
    for block in blocks:
        if block["path"]:
            path = tmp_path / block["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["text"])
    lines = [line for b in blocks if b["kind"] == "sh" for line in b["text"].splitlines()]
    assert len(lines) > 4
    for line in lines:
        program, *words = line.split()
        assert program == "quarl"
        done = subprocess.run(
            [sys.executable, "-m", "quarl", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert json.loads((tmp_path / "small" / "training.json").read_text())["differing"] == 0
    assert (tmp_path / "rounded" / "fp16" / "model.tflite").is_file()
    assert (tmp_path / "results" / "study.html").is_file()
