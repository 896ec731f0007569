"""The report's film: the user's own environment, float32 beside int8, only where it is asked
for.
"""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from quarl import pipeline
from quarl.bundle.release import Release
from quarl.cli.app import Ended, app
from quarl.errors import InputError
from quarl.exporter.export import ExportRequest
from quarl.graph.env_spec import EnvSpec
from quarl.reports.animation import animate
from quarl.reports.contents import read_contents
from quarl.reports.render import render_contents, render_report
from tests.conftest import need
from tests.support.browser import Browser

STEPS = 20


class Drawn(gymnasium.Env[Any, Any]):
    """Twenty steps of a square that moves; every instance is counted."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012  # gymnasium's form
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    made = 0

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode, self.at = render_mode, 0
        Drawn.made += 1

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.at = 0
        return np.zeros(4, np.float32), {}

    def step(self, action: Any) -> Any:
        self.at += 1
        return np.full(4, self.at / 50, np.float32), 1.0, self.at == STEPS, False, {}

    def render(self) -> Any:
        frame = np.zeros((60, 90, 3), np.uint8)
        frame[20:30, 2 * self.at : 2 * self.at + 10] = (200, 30, 40)
        return frame


gymnasium.register("Drawn-v0", f"{__name__}:Drawn")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A bundle whose episodes are played in an environment of its user's own."""
    source = pipeline.import_source("cartpole_ppo")
    env = EnvSpec("tests.reports.test_film:Drawn-v0")
    release = pipeline.export(
        source, tmp_path_factory.mktemp("film") / "own", ExportRequest(rung=0)
    )
    return replace(release, manifest=replace(release.manifest, env=env))


def test_a_report_runs_no_environment_of_its_users_unless_asked(own: Release) -> None:
    before = Drawn.made
    page = render_report(own)
    assert Drawn.made == before
    assert 'class="film"' not in page


def test_the_film_shows_both_from_the_same_seed(own: Release) -> None:
    need("PIL")
    from PIL import Image

    animation = animate(own, None)
    assert (animation.source.steps, animation.int8.steps) == (STEPS, STEPS)
    assert animation.source.total == STEPS
    with Image.open(io.BytesIO(animation.gif)) as image:
        assert getattr(image, "n_frames", 1) == STEPS + 1
        assert image.size == (animation.width, animation.height)
        image.seek(10)
        last = np.asarray(image.convert("RGB")).astype(int)
    half = animation.width // 2
    scale = animation.width / (2 * 90 + 2)
    for left in (0, half):  # the square has moved by 20 pixels on both sides
        column, row = int(left + 25 * scale), int(25 * scale)
        assert np.abs(last[row, column] - (200, 30, 40)).max() < 30


def test_the_page_holds_the_film_and_a_still_for_readers_who_want_no_motion(
    own: Release, browser: Browser, tmp_path: Path
) -> None:
    need("PIL")
    page = tmp_path / "report.html"
    page.write_text(render_contents(read_contents(own, film=True)), encoding="utf-8")
    for width, still, kind in ((1280, False, "gif"), (320, True, "png")):
        browser.open(page, width=width, still=still)
        assert browser.seen.console == []
        others = [url for url in browser.seen.requests if url != page.as_uri()]
        assert all(url.startswith("data:image/") for url in others)
        shown = browser.evaluate("document.querySelector('img.film').currentSrc.slice(0, 14)")
        assert shown == f"data:image/{kind}"
        box = browser.evaluate("document.querySelector('img.film').getBoundingClientRect().right")
        assert box <= width
        assert browser.evaluate("document.querySelector('img.film').naturalWidth") > 0
    alt = browser.evaluate("document.querySelector('img.film').alt")
    assert "Left float32: return 20" in alt
    data = browser.evaluate("document.querySelector('img.film').src").partition(",")[2]
    assert base64.b64decode(data).startswith(b"GIF89a")


def test_an_environment_that_draws_nothing_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: Release
) -> None:
    need("PIL")
    from typer.testing import CliRunner

    monkeypatch.setattr(Drawn, "render", lambda self: None)
    monkeypatch.setattr("quarl.bundle.release.open_bundle", lambda folder: own)
    out = tmp_path / "report.html"
    run = CliRunner().invoke(app, ["report", str(own.folder), "--film", "-o", str(out)])
    assert isinstance(run.exception, Ended)
    with pytest.raises(InputError, match="cannot be filmed"):
        raise run.exception.reason
    assert not out.exists()
