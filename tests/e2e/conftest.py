"""A bundle every end-to-end test may copy, and the command line as a user runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from quarl import pipeline
from quarl.exporter.export import ExportRequest

Quarl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def finished_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shipped CartPole bundle with every stage's result; copy it before you change it."""
    folder = tmp_path_factory.mktemp("bundles") / "cartpole_ppo"
    source = pipeline.import_source("cartpole_ppo")
    made = pipeline.ship(source, folder, ExportRequest(rung=4))
    assert made.verdict.may_ship, [
        check.detail for check in (*made.verdict.failed, *made.verdict.unproven)
    ]
    return made.release.folder


@pytest.fixture
def bundle_copy(finished_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the finished bundle, free to be damaged."""
    return Path(shutil.copytree(finished_bundle, tmp_path / "bundle"))


@pytest.fixture
def quarl(tmp_path: Path) -> Quarl:
    """Run `quarl` in an empty folder and return what it printed and its exit code."""

    def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COLUMNS": "200", **options.pop("env", {})}  # type: ignore[dict-item]
        argv = [sys.executable, "-m", "quarl", *map(str, arguments)]
        return subprocess.run(
            argv,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            **options,
        )  # type: ignore[call-overload, no-any-return]

    return run
