"""The page on training, followed from top to bottom: its files are written, its commands run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import need
from tests.support.pages import follow

pytestmark = [pytest.mark.e2e, pytest.mark.train]


def test_every_command_of_the_page_runs_on_the_files_of_the_page(tmp_path: Path) -> None:
    need("torch", "stable_baselines3", "matplotlib")
    assert follow("training.md", tmp_path) > 4
    assert json.loads((tmp_path / "small" / "training.json").read_text())["differing"] == 0
    assert (tmp_path / "rounded" / "fp16" / "model.tflite").is_file()
    assert (tmp_path / "results" / "study.html").is_file()
