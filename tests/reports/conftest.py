"""One release with everything a report shows, and a browser to look at it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from quarl import pipeline
from quarl.boards.microcontroller import find_board
from quarl.bundle.release import Release
from quarl.exporter.export import ExportRequest
from quarl.links.target import Target
from quarl.reports.contents import Contents, read_contents
from quarl.reports.render import render_contents
from quarl.resources import targets_dir
from quarl.verdict.assess import ParityRequest
from tests.conftest import need
from tests.support.browser import PROGRAMS, Browser

EPISODES = 24  # too few to prove the margin: a release that is not proven has more to show


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """nav_ppo with firmware, profiles, disturbed episodes and a verdict."""
    need("ziglang", "unicorn")
    board = find_board("nrf52840_dk", targets_dir())
    bundle = pipeline.export(
        pipeline.import_source("nav_ppo"),
        tmp_path_factory.mktemp("report") / "nav_ppo",
        ExportRequest(rung=0, board=board),
    )
    pipeline.profile(bundle)
    pipeline.profile_board(bundle, Target(board))
    pipeline.parity(bundle, ParityRequest(episodes=EPISODES, robustness=True))
    pipeline.gate(bundle)
    return bundle


@pytest.fixture(scope="session")
def contents(release: Release) -> Contents:
    """What is known about the release."""
    return read_contents(release)


@pytest.fixture(scope="session")
def page(contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the release."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_contents(contents), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium."""
    need(next((name for name in PROGRAMS if shutil.which(name)), PROGRAMS[0]))
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened
