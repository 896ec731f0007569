"""A history that somebody edited is shown or refused, never a traceback."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from quarl.cli import show_history
from quarl.errors import InputError
from quarl.verdict.history import (
    Occasion,
    answers_of,
    compare_runs,
    figure_over_runs,
    list_runs,
    record,
)
from tests.verdict.test_history import AT, FAILED, PASSED

VALUES: list[Any] = [
    None, b"\xff\xfe", "text", "", -1, 7, 2**63 - 1, 0.5, float("inf"), -float("inf"), 1e308,
    "\x1b[2J", "x" * 100_000,
]  # fmt: skip
COLUMNS = [
    *(("runs", name) for name in ("number", "at", "policy", "board", "answer", "version")),
    *(("runs", name) for name in ("manifest_sha256", "git_commit", "rung", "host")),
    *(("checks", name) for name in ("run", "name", "outcome", "found", "allowed", "unit", "kind")),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for verdict in (PASSED, FAILED):
        record(tmp_path / "h.sqlite3", verdict, Occasion(AT, "1", "ab" * 32))
    return tmp_path / "h.sqlite3"


def show_all(path: Path) -> int:
    """Show everything; return how many of the views were refused."""
    refused = 0
    for view in (
        lambda: show_history.runs_text(list_runs(path)),
        lambda: show_history.runs_table(list_runs(path, "cartpole_ppo")),
        lambda: [answers_of(path, number) for number in (1, 2)],
        lambda: show_history.changes_text(compare_runs(path, 1, 2), 1, 2),
        lambda: show_history.figures_text(figure_over_runs(path, "import_error")),
        lambda: show_history.figures_table(figure_over_runs(path, "budget_artifact_bytes")),
    ):
        try:
            view()
        except InputError:
            refused += 1
    return refused


def edit(path: Path, *statements: str, values: tuple[Any, ...] = ()) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement, values)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_any_value_in_any_column(path: Path, table: str, column: str, value: Any) -> None:
    with suppress(sqlite3.IntegrityError):
        edit(path, f"UPDATE OR IGNORE {table} SET {column} = ?", values=(value,))
    show_all(path)


def test_a_check_whose_name_is_no_text_is_called_damage(path: Path) -> None:
    edit(
        path,
        "DELETE FROM checks WHERE name = 'import_error'",
        "DELETE FROM checks WHERE run = 2",
        "UPDATE checks SET name = x'ff' WHERE name = (SELECT min(name) FROM checks)",
    )
    with pytest.raises(InputError, match="where a text belongs"):
        figure_over_runs(path, "import_error")


def test_figures_as_far_apart_as_floats_can_be_are_drawn(path: Path) -> None:
    edit(path, "UPDATE checks SET found = 1.7e308 * (1 - 2 * (run = 1))")
    assert "1.7e+308" in show_history.figures_text(figure_over_runs(path, "import_error"))


@pytest.mark.parametrize(
    ("column", "value"), [("outcome", 7), ("found", "text"), ("unit", b"\xff")]
)
def test_a_value_of_another_type_is_called_damage(path: Path, column: str, value: Any) -> None:
    edit(path, f"UPDATE checks SET {column} = ?", values=(value,))
    with pytest.raises(InputError, match="the history is damaged"):
        answers_of(path, 1)


def test_text_that_is_no_utf_8_is_called_damage(path: Path) -> None:
    edit(path, "UPDATE runs SET policy = CAST(X'FFFE' AS TEXT)")
    with pytest.raises(InputError, match=r"damaged|cannot be opened"):
        list_runs(path)


@pytest.mark.parametrize(
    "statements",
    [
        [
            "DROP TABLE runs",
            "CREATE VIEW runs AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n FROM c) "
            "SELECT n number, 'a' at, 'p' policy, '' board, 1 passed, '' manifest_sha256, "
            "'' version FROM c WHERE n > 1",
        ],
        ["CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM checks; END"],
        ["ALTER TABLE runs ADD COLUMN more TEXT"],
        ["DROP TABLE checks"],
    ],
    ids=["endless view", "trigger", "column", "no table"],
)
def test_tables_that_are_not_ours_are_refused(path: Path, statements: list[str]) -> None:
    edit(path, *statements)
    assert show_all(path) == 6
    with pytest.raises(InputError, match="damaged"):
        record(path, PASSED, Occasion(AT, "", ""))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        list_runs(tmp_path / "pipe")
