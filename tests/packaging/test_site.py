"""The documentation: each tutorial runs as written, and the site builds without a warning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import need
from tests.support.pages import DOCS, follow

ROOT = DOCS.parents[1]


@pytest.mark.every(3)
@pytest.mark.e2e
@pytest.mark.parametrize(
    ("page", "tools"),
    [
        ("first-release", ()),
        ("own-policy", ("torch",)),
        ("board", ("ziglang", "unicorn")),
    ],
)
def test_a_tutorial_runs_as_it_is_written(
    page: str, tools: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(*tools)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert follow(f"tutorials/{page}.md", tmp_path) > 2


def test_every_tutorial_is_followed() -> None:
    named = set(re.findall(r'"([a-z-]+)", \(', Path(__file__).read_text()))
    assert {path.stem for path in (DOCS / "tutorials").glob("*.md")} == named


@pytest.mark.e2e
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    need("mkdocs", "material")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    verbs = (tmp_path / "reference" / "cli.html").read_text()
    assert "quarl ship" in verbs
    assert "mean_return" in (tmp_path / "reference" / "checks.html").read_text()
    loaded = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"')
    for page in tmp_path.rglob("*.html"):
        assert loaded.findall(page.read_text()) == [], page.name


def test_every_page_of_the_index_is_in_the_sites_navigation() -> None:
    settings = (ROOT / "mkdocs.yml").read_text()
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.glob("*.md")}
    assert {page for page in pages if not re.search(rf"\b{page}$", settings, re.MULTILINE)} == set()
