"""Boards from a project, a user's folder and a file stand beside the shipped ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quarl.boards.find import board_files, board_roots, find_target, read_targets
from quarl.boards.microcontroller import Board
from quarl.cli.app import app
from quarl.errors import InputError
from quarl.resources import targets_dir

TEXT = (targets_dir() / "nucleo_l4r5zi" / "board.toml").read_text()


def write(path: Path, name: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEXT.replace('"nucleo_l4r5zi"', f'"{name}"'))
    return path


def test_the_shipped_boards_are_the_folders_of_targets() -> None:
    folders = sorted(path.parent.name for path in targets_dir().glob("*/board.toml"))
    assert list(read_targets([targets_dir()])) == folders


def test_a_project_and_a_user_have_boards_in_folders_or_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "project" / "boards" / "one" / "board.toml", "one")
    write(tmp_path / "project" / "boards" / "two.toml", "two")
    write(tmp_path / "config" / "quarl" / "boards" / "three.toml", "three")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    found = read_targets(board_roots())
    assert {"one", "two", "three", "rp2040_pico"} <= set(found)
    assert isinstance(found["three"], Board)
    assert find_target("two", board_roots()) == found["two"]


def test_a_board_file_may_lie_anywhere_and_is_called_what_it_says(tmp_path: Path) -> None:
    path = write(tmp_path / "board.toml", "mine")
    assert find_target(str(path), []).name == "mine"
    assert find_target(str(tmp_path), []).name == "mine"
    assert find_target(str(write(tmp_path / "other.toml", "mine")), []).name == "mine"
    with pytest.raises(InputError, match=r"none\.toml: there is no such file"):
        find_target(str(tmp_path / "none.toml"), [])


def test_in_a_folder_of_boards_the_name_is_that_of_the_file(tmp_path: Path) -> None:
    write(tmp_path / "one.toml", "other")
    with pytest.raises(InputError, match="name: 'other'; the folder is called 'one'"):
        read_targets([tmp_path])


def test_two_boards_of_one_name_are_refused_and_both_files_named(tmp_path: Path) -> None:
    ours = write(tmp_path / "rp2350.toml", "rp2350")
    with pytest.raises(InputError, match="is called 'rp2350' too") as error:
        board_files([targets_dir(), tmp_path])
    assert str(ours) in str(error.value)
    assert str(targets_dir() / "rp2350" / "board.toml") in str(error.value)


def test_an_unknown_name_is_answered_with_the_closest_one() -> None:
    with pytest.raises(InputError, match="did you mean rp2040_pico"):
        find_target("rp2040_pic", [targets_dir()])
    with pytest.raises(InputError, match="quarl boards lists them"):
        find_target("zzz", [targets_dir()])


def test_quarl_boards_lists_those_of_the_project_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "boards" / "mine.toml", "mine")
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["boards", "--json"])
    assert ended.exit_code == 0, ended.output
    boards = {board["name"]: board for board in json.loads(ended.stdout)}
    assert boards["mine"]["cpu"] == "cortex-m4"
    assert boards["raspberrypi_4"]["kind"] == "linux"
