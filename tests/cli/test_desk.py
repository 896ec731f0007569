"""The command line at a desk: groups, completion, defaults of a project, quiet, tables that fit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from quarl.boards.microcontroller import find_board
from quarl.cli.app import app
from quarl.cli.doctor import install_command
from quarl.cli.groups import GROUPS
from quarl.cli.project import project_of
from quarl.cli.table import table
from quarl.cli.verbs import VERBS
from quarl.errors import InputError
from quarl.importers import ImportOptions
from quarl.pi.wheels import wheel_set
from quarl.profiles.platforms import target_of
from quarl.resources import VERSION, targets_dir
from quarl.sources.source import open_source, recipe_folder


def quarl(
    folder: Path, *arguments: str, code: int = 0, **env: str
) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "quarl"
    done = subprocess.run(
        [program, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **env},
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def verbs() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def test_every_verb_is_in_one_group_with_its_whole_sentence(tmp_path: Path) -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(VERBS)
    help_text = quarl(tmp_path, "--help", COLUMNS="80").stdout
    assert "..." not in help_text.partition("Options:")[2]
    assert all(f"{title}:" in help_text for title in GROUPS)
    assert max(map(len, help_text.splitlines())) <= 80


def test_options_have_the_names_that_a_verb_gives_them(verbs: dict[str, Any]) -> None:
    def names(verb: str) -> set[str]:
        return {name for option in verbs[verb].params for name in option.opts}

    assert "--json" in names("boards")
    assert {"-o", "--out", "--card"} <= names("report")
    assert {"--board", "--link", "--quiet"} <= names("profile")
    assert not any("--as-json" in names(verb) for verb in verbs)


def test_version_says_which_python_and_where(tmp_path: Path) -> None:
    text = quarl(tmp_path, "--version").stdout
    assert text.startswith(f"quarl {VERSION}, Python 3.")
    assert Path(text.split(", ")[-1].strip()).is_dir()


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("quarl profile b --board nrf52", "nrf52840_dk"),
        ("quarl shi", "ship"),
        ("quarl ship x --board nrf52", "nrf52840_dk"),
        ("quarl ship cart", "cartpole_ppo"),
    ],
)
def test_a_shell_completes_verbs_boards_and_policies(
    words: str, offered: str, tmp_path: Path
) -> None:
    count = str(len(words.split()) - 1)
    done = quarl(tmp_path, _QUARL_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=count)
    assert offered in done.stdout.split()


def test_a_project_sets_defaults_and_the_command_line_wins(
    tmp_path: Path, verbs: dict[str, Any]
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.quarl]\nboard = "nrf52840_dk"\nenv-arg = ["game=pong"]\nno-history = true\n'
        '[tool.quarl.ship]\nepisodes = 400\nlimits = "strict.toml"\n'
    )
    (tmp_path / "gate.toml").write_text("[gate]\n")
    below = tmp_path / "policies" / "nav"
    below.mkdir(parents=True)
    project = project_of(below, verbs)
    assert project.defaults["export"]["board"] == "nrf52840_dk"
    assert project.defaults["ship"]["env_arg"] == ["game=pong"]
    assert project.defaults["ship"]["episodes"] == 400
    assert project.defaults["ship"]["limits"] == str(tmp_path / "strict.toml")
    assert project.defaults["gate"]["limits"] == str(tmp_path / "gate.toml")
    assert "episodes" not in project.defaults["parity"]
    assert project.sources == (str(tmp_path / "pyproject.toml"), str(tmp_path / "gate.toml"))


def test_a_repository_ends_the_search(tmp_path: Path, verbs: dict[str, Any]) -> None:
    (tmp_path / "gate.toml").write_text("[gate]\n")
    (tmp_path / "mine" / ".git").mkdir(parents=True)
    assert project_of(tmp_path / "mine", verbs).sources == ()


def test_a_folder_where_anybody_writes_ends_the_search(
    tmp_path: Path, verbs: dict[str, Any]
) -> None:
    (tmp_path / "gate.toml").write_text("[gate]\n")
    below = tmp_path / "mine" / "bundle"
    below.mkdir(parents=True)
    assert project_of(below, verbs).sources == (str(tmp_path / "gate.toml"),)
    tmp_path.chmod(0o1777)
    assert project_of(below, verbs).sources == ()
    assert project_of(tmp_path, verbs).sources == (str(tmp_path / "gate.toml"),)


def test_wrong_keys_of_a_project_are_all_named(tmp_path: Path, verbs: dict[str, Any]) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.quarl]\nbord = "x"\nquiet = "yes"\nboard = true\nout = "here"\n'
        "[tool.quarl.shp]\na = 1\n[tool.quarl.gate]\nepisode = 3\n"
    )
    with pytest.raises(InputError) as raised:
        project_of(tmp_path, verbs)
    text = str(raised.value)
    for words in (
        "did you mean board?",
        "true or false",
        "did you mean ship?",
        "gate.episode",
        "out:",
    ):
        assert words in text, text


@pytest.mark.long
def test_defaults_reach_a_verb_and_are_said_unless_quiet(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.quarl]\nboard = "nrf52840_dks"\n')
    spoken = quarl(tmp_path, "export", "pendulum_sac", "--out", "b", code=2)
    assert "defaults from" in spoken.stderr
    assert "nrf52840_dk" in spoken.stderr
    quiet = quarl(tmp_path, "export", "pendulum_sac", "--out", "b", "-q", code=2)
    assert "defaults from" not in quiet.stderr
    assert "nrf52840_dk" in quiet.stderr, "errors are never quiet"


BOARD = find_board("nrf52840_dk", targets_dir())


@pytest.mark.parametrize(
    ("refused", "closest"),
    [
        (lambda: open_source("nav_pp", ImportOptions(), None), "nav_ppo"),
        (lambda: recipe_folder("cartpol_ppo"), "cartpole_ppo"),
        (lambda: install_command("frmware", ()), "firmware"),
        (lambda: target_of(BOARD, "probe", flash="pyocdd"), "pyocd"),
        (lambda: wheel_set("tflite-runtim"), "tflite-runtime"),
    ],
    ids=["source", "recipe", "install", "flash", "runtime"],
)
def test_a_wrong_name_is_answered_with_the_closest(
    refused: Callable[[], object], closest: str
) -> None:
    with pytest.raises(InputError, match=rf"\(did you mean {closest}\?\)"):
        refused()


def test_a_table_folds_its_widest_texts_to_the_width() -> None:
    rows = [("a", "word " * 30, "1,234"), ("b", "short", "5")]
    text = table(("name", "text", "count"), rows, width=60)
    assert max(map(len, text.splitlines())) <= 60
    assert text.count("word") == 30
    assert table(("name", "text", "count"), rows, width=500) == table(
        ("name", "text", "count"), rows
    )
