"""Play: the numbers are the episodes' own, in float32 and int8, and the film shows the first of
them.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from typer.testing import CliRunner

from quarl import pipeline
from quarl.cli.app import Ended, app
from quarl.cli.verbs.play import check_screen
from quarl.errors import InputError, ToolMissingError
from quarl.exporter.export import ExportRequest
from quarl.graph.env_spec import EnvSpec
from quarl.reports.film_file import check_film_file
from quarl.reports.gif import gif_bytes
from quarl.reports.mp4 import mp4_bytes
from quarl.reports.player import Film, beside, bundle_player, film, play, show, source_player
from quarl.rollouts.episodes import run_episodes
from tests.conftest import need

pytestmark = pytest.mark.play


def test_a_player_plays_the_episodes_of_its_policy() -> None:
    source = pipeline.import_source("nav_ppo")
    floats, integers = source_player(source, None, None), source_player(source, None, 3)
    assert (floats.arithmetic, integers.arithmetic) == ("float32", "int8, rung 3")
    played = play(floats, [5, 6])
    assert np.array_equal(played.returns, run_episodes(floats.env, floats.actor, [5, 6]).returns)
    assert not np.array_equal(played.returns, play(integers, [5, 6]).returns)


def test_a_shipped_policy_plays_where_it_was_trained_and_not_where_the_gate_judges() -> None:
    need("ale_py")
    source = pipeline.import_source("pong_ppo")
    assert source.env is not None
    assert "repeat_action_probability" in source.env.kwargs
    assert source_player(source, None, None).env.kwargs == {"game": "pong"}


def test_a_bundle_plays_what_it_holds(tmp_path: Path) -> None:
    source = pipeline.import_source("nav_ppo")
    bundle = pipeline.export(source, tmp_path / "bundle", ExportRequest(rung=3))
    assert bundle.source is not None
    for int8, rung in ((True, 3), (False, None)):
        found = play(bundle_player(bundle, None, int8=int8), [5, 6])
        assert np.array_equal(
            found.returns, play(source_player(source, None, rung), [5, 6]).returns
        )


def test_the_film_shows_the_episode_that_was_played() -> None:
    player = source_player(pipeline.import_source("nav_ppo"), None, None)
    played = play(player, [7])
    shown = film(player, 7)
    assert shown.steps == played.lengths[0]
    assert len(shown.frames) == shown.steps + 1
    assert shown.total == pytest.approx(played.returns[0])
    assert shown.frames_hz == player.step_hz
    assert len(film(player, 7, most_frames=5).frames) == 5
    assert not np.array_equal(shown.frames[0], shown.frames[-1])


def test_an_environment_without_pictures_cannot_be_filmed() -> None:
    player = source_player(pipeline.import_source("nav_ppo"), None, None)
    blind = EnvSpec("tests.rollouts.test_episodes:CountDown-v0")
    with pytest.raises(InputError, match="CountDown-v0"):
        film(replace(player, env=blind, actor=lambda obs: np.zeros(len(obs), np.int64)), 3)


def squares(count: int = 12, hz: float = 15.0, noise: bool = False) -> Film:
    rng = np.random.default_rng(0)
    frames = np.zeros((count, 40, 60, 3), np.uint8)
    for step in range(count):
        frames[step, 10:20, 3 * step : 3 * step + 10] = (200, 30, 40)
    return Film(
        rng.integers(0, 256, (count, 80, 120, 3), np.uint8) if noise else frames, hz, count - 1, 1.0
    )


def test_a_gif_is_the_same_every_time_and_plays_at_the_policys_pace() -> None:
    need("PIL")
    from PIL import Image

    data = gif_bytes(squares())
    assert data == gif_bytes(squares())
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "GIF"
        assert image.size == (120, 80)  # twice the size, as it is small
        assert image.n_frames == 12
        lengths = []
        for frame in range(image.n_frames):
            image.seek(frame)
            lengths.append(image.info["duration"])
    assert sum(lengths) == 800  # 12 / 15 s
    assert set(lengths) == {60, 70}


def test_a_gif_becomes_narrower_until_it_is_small_enough() -> None:
    need("PIL")
    from PIL import Image

    film_ = squares(noise=True)
    whole = gif_bytes(film_)
    small = gif_bytes(film_, most_bytes=len(whole) // 2)
    assert len(small) <= len(whole) // 2
    with Image.open(io.BytesIO(small)) as image:
        assert image.width < 240
    with pytest.raises(InputError, match="12 frames"):
        gif_bytes(film_, most_bytes=1000)


def test_an_mp4_plays_at_the_policys_pace_on_every_player() -> None:
    need("ffmpeg")
    data = mp4_bytes(squares(hz=12.5))
    assert data == mp4_bytes(squares(hz=12.5))
    argv = ["ffmpeg", "-v", "error", "-i", "-", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    told = subprocess.run(["ffmpeg", "-i", "-"], input=data, capture_output=True).stderr.decode()
    assert "yuv420p" in told
    assert "120x80" in told, "a small picture is drawn at twice its size"
    assert "12.50 fps" in told
    shown = subprocess.run(argv, input=data, capture_output=True, check=True).stdout
    frames = np.frombuffer(shown, np.uint8).reshape(12, 80, 120, 3)
    square = frames[3, 30, 28].astype(int)
    assert np.abs(square - (200, 30, 40)).max() < 40


def test_an_mp4_of_an_odd_size_is_padded() -> None:
    need("ffmpeg")
    film_ = Film(np.zeros((2, 301, 251, 3), np.uint8), 30.0, 1, 0.0)
    told = subprocess.run(["ffmpeg", "-i", "-"], input=mp4_bytes(film_), capture_output=True)
    assert "252x302" in told.stderr.decode()


def test_an_mp4_without_ffmpeg_is_refused_before_anything_is_played(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ToolMissingError, match=r"pip install imageio-ffmpeg.*\.gif"):
        check_film_file(Path("film.mp4"))


def test_a_window_shows_the_episodes_that_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    player = source_player(pipeline.import_source("cartpole_ppo"), None, None)
    env = EnvSpec("tests.reports.test_player:Window-v0")
    SHOWN.clear()
    shown = show(replace(player, env=env), [7, 8])
    assert SHOWN == ["human"] * 2 * 11
    assert shown.lengths.tolist() == [10, 10]
    assert shown.returns.tolist() == [10.0, 10.0]
    assert shown.successes is None


SHOWN: list[str] = []


class Window(gymnasium.Env[Any, Any]):
    """Ten steps of nothing, shown as gymnasium's environments are: by reset and step themselves."""

    metadata = {"render_modes": ["human"], "render_fps": 1000}  # noqa: RUF012  # gymnasium's form
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode: str) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.left = 10
        SHOWN.append(str(self.render_mode))
        return np.zeros(4, np.float32), {}

    def step(self, action: Any) -> Any:
        self.left -= 1
        SHOWN.append(str(self.render_mode))
        return np.zeros(4, np.float32), 1.0, self.left == 0, False, {}


gymnasium.register("Window-v0", f"{__name__}:Window")


@pytest.mark.parametrize(
    ("system", "environ", "is_refused"),
    [
        ("linux", {}, True),
        ("linux", {"DISPLAY": ""}, True),
        ("linux", {"DISPLAY": ":0"}, False),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, False),
        ("darwin", {}, False),
        ("win32", {}, False),
    ],
)
def test_a_window_needs_a_screen(system: str, environ: dict[str, str], is_refused: bool) -> None:
    if not is_refused:
        check_screen(environ, system)
        return
    with pytest.raises(InputError, match="there is no screen here"):
        check_screen(environ, system)


def test_the_command_prints_episodes_and_writes_the_film(tmp_path: Path) -> None:
    need("PIL")
    video = tmp_path / "flight.gif"
    run = CliRunner().invoke(
        app,
        [
            "play",
            "nav_ppo",
            "--int8",
            "--episodes",
            "2",
            "--seed",
            "7",
            "--video",
            str(video),
            "--json",
        ],
    )
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert told["arithmetic"] == "int8, rung 3"
    assert told["seeds"] == [7, 8]
    assert told["mean_return"] == pytest.approx(np.mean(told["returns"]))
    assert told["success_rate"] in (0.0, 0.5, 1.0)
    assert told["video"]["bytes"] == video.stat().st_size
    assert told["video"]["frames"] == told["steps"][0] + 1
    text = CliRunner().invoke(app, ["play", "cartpole_ppo", "--episodes", "2"]).stdout
    assert "mean return" in text
    assert "2 episodes" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nav_ppo", "--rung", "2"], "is for --int8"),
        (["nav_ppo", "--int8", "--rung", "auto"], "quarl ship"),
        (["nav_ppo", "--video", "flight.avi"], r"must end in \.gif or \.mp4"),
        (["no_such_policy"], "no_such_policy"),
        (["nav_ppo", "--env", "CartPole-v1"], "the policy observes"),
    ],
)
def test_what_cannot_be_played_is_refused_with_what_to_do(
    arguments: list[str], message: str
) -> None:
    run = CliRunner().invoke(app, ["play", *arguments])
    assert isinstance(run.exception, Ended)
    with pytest.raises(InputError, match=message):
        raise run.exception.reason


def test_two_films_stand_side_by_side_and_the_shorter_waits() -> None:
    short = Film(np.full((2, 30, 40, 3), 10, np.uint8), 20.0, 1, 7.0)
    long = Film(np.stack([np.full((30, 40, 3), n, np.uint8) for n in range(5)]), 20.0, 4, 8.0)
    film = beside(short, long)
    assert film.frames.shape == (5, 30, 82, 3)
    assert film.steps == 4
    assert (film.frames[:, :, :40] == 10).all()
    assert [int(frame[0, -1, 0]) for frame in film.frames] == [0, 1, 2, 3, 4]
    assert (film.frames[:, :, 40:42] == 255).all()
