"""Boards beside each other: the fastest that fits first, and the reason where one does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quarl import pipeline
from quarl.boards.core import Region
from quarl.boards.find import board_roots, decode_board, encode_board, find_target, read_targets
from quarl.boards.linux import AnyBoard
from quarl.bundle.limits import Limits
from quarl.bundle.release import Release, open_bundle
from quarl.cli.app import app
from quarl.cli.show_ranking import ranking_text
from quarl.errors import InputError, ToolMissingError
from quarl.exporter.export import ExportRequest
from quarl.links import unicorn
from quarl.profiles.platforms import board_of
from quarl.profiles.ranking import rank_boards
from quarl.resources import targets_dir
from quarl.verdict.assess import own_target
from tests.conftest import need


def named(name: str) -> AnyBoard:
    return find_target(name, board_roots())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for a board that only its user has."""
    need("ziglang", "unicorn", "elftools", "capstone")
    place = tmp_path_factory.mktemp("ranking")
    text = (targets_dir() / "nucleo_l4r5zi" / "board.toml").read_text()
    board = place / "mine.toml"
    board.write_text(text.replace('"nucleo_l4r5zi"', '"mine"').replace("120_000_000", "60_000_000"))
    request = ExportRequest(
        rung=0, limits=Limits(random_return=20.0), board=find_target(str(board), [])
    )
    pipeline.export(pipeline.import_source("cartpole_ppo"), place / "bundle", request)
    return place / "bundle"


def test_the_fastest_board_that_fits_comes_first_and_a_small_one_says_why_it_does_not(
    folder: Path,
) -> None:
    small = replace(named("nucleo_l4r5zi"), name="small", flash=Region(0x0800_0000, 4096))
    boards = [named("rp2040_pico"), small, named("raspberrypi_4"), named("stm32h743")]
    asked: list[str] = []
    ranked = rank_boards(open_bundle(folder), boards, lambda board: asked.append(board.name))
    assert asked == ["rp2040_pico", "small", "stm32h743"]
    assert [board.board for board in ranked] == ["stm32h743", "rp2040_pico", "small"]
    fastest, slower, unfit = ranked
    assert fastest.fits
    assert slower.fits
    assert fastest.latency_us is not None
    assert slower.latency_us is not None
    assert fastest.latency_us[1] < slower.latency_us[1]
    assert fastest.flash_share is not None
    assert 0 < fastest.flash_share < 0.1
    assert unfit.fits is False
    assert "needs" in unfit.reason
    assert "of flash, the board has 4,096 B" in unfit.reason
    text = ranking_text(ranked)
    assert text.index("stm32h743") < text.index("rp2040_pico") < text.index("small")
    assert "small: the policy needs" in text


def test_a_board_whose_emulator_is_missing_is_listed_with_what_brings_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ToolMissingError("unicorn is not installed: pip install 'quarl[firmware]'")

    monkeypatch.setattr(unicorn, "EmulatedCore", refuse)
    (ranked,) = rank_boards(open_bundle(folder), [named("stm32h743")])
    assert ranked.fits is None
    assert "pip install" in ranking_text([ranked])


def test_a_bundle_knows_the_board_it_was_exported_for_wherever_it_is_opened(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    release = open_bundle(folder)
    board = board_of(release)
    assert board is not None
    assert (board.name, board.clock_hz) == ("mine", 60_000_000)
    target = own_target(release)
    assert target is not None
    profile = pipeline.profile_board(release, target)
    assert (profile.board, profile.differing) == ("mine", 0)
    budgets = pipeline.gate(open_bundle(folder)).checks
    assert any(check.name == "budget_firmware_latency_us" for check in budgets)
    ended = CliRunner().invoke(app, ["profile", str(folder), "--board", "mine", "--json"])
    assert json.loads(ended.stdout)["clock_hz"] == 60_000_000


def test_a_board_file_of_another_name_is_refused(folder: Path) -> None:
    release = open_bundle(folder)
    other: Release = replace(
        release, files={**release.files, "board.json": encode_board(named("stm32h743"))}
    )
    with pytest.raises(InputError, match=r"board\.json: is of stm32h743, the bundle is for mine"):
        board_of(other)


@pytest.mark.parametrize("name", read_targets([targets_dir()]))
def test_a_board_survives_a_bundle(name: str) -> None:
    board = find_target(name, [targets_dir()])
    assert decode_board(encode_board(board), "board.json") == board


def test_a_damaged_board_file_names_its_problem() -> None:
    data = encode_board(named("stm32h743")).replace(b'"cortex-m7"', b'"cortex-m9"')
    with pytest.raises(InputError, match=r"board\.json: is not a board .*cortex-m9"):
        decode_board(data, "board.json")


def test_all_boards_are_ranked_on_the_command_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quarl.boards.find.targets_dir", lambda: tmp_path)
    for name in ("stm32h743", "rp2350"):
        (tmp_path / name).mkdir()
        text = (targets_dir() / name / "board.toml").read_text()
        (tmp_path / name / "board.toml").write_text(text)
    ended = CliRunner().invoke(app, ["profile", str(folder), "--board", "all", "--json"])
    assert ended.exit_code == 0, ended.output
    assert [board["board"] for board in json.loads(ended.stdout)] == ["stm32h743", "rp2350"]
    before = sorted(path.name for path in folder.iterdir())
    CliRunner().invoke(app, ["profile", str(folder), "--board", "all"])
    assert sorted(path.name for path in folder.iterdir()) == before
