"""Every run is kept, side by side with others; what is not a history is left as it is."""

from __future__ import annotations

import csv
import io
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from xml.etree import ElementTree

import pytest

from quarl.errors import InputError
from quarl.verdict.history import (
    Occasion,
    Run,
    all_answers,
    answers_of,
    compare_runs,
    figure_over_runs,
    list_runs,
    record,
)
from quarl.verdict.history_file import LOOKED_THROUGH, _look_through
from quarl.verdict.history_outputs import curves_svg, history_csv
from quarl.verdict.judge import judge
from quarl.verdict.verdict import Outcome, Verdict
from tests.conftest import need
from tests.support.release import GOOD, LIMITS

PASSED = judge(GOOD, LIMITS, policy="cartpole_ppo")
FAILED = judge(replace(GOOD, backends=()), LIMITS, policy="cartpole_ppo")
AT = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)

WRITER = """
import sys
from contextlib import closing
from datetime import datetime, UTC
from pathlib import Path
from quarl.verdict.history import Occasion, record
from quarl.verdict.verdict import Check, Outcome, Verdict
of = (None, "at most", "", "exact", "")
checks = (Check(f"check_{i}", "budget", Outcome.PASS, i, *of) for i in range(20))
verdict = Verdict("policy", tuple(checks))
at = datetime(2026, 1, 1, tzinfo=UTC)
for _ in range(25):
    record(Path(sys.argv[1]), verdict, Occasion(datetime(2026, 1, 1, tzinfo=UTC), "1", ""))
"""


def keep(path: Path, verdict: Verdict, at: datetime = AT, board: str = "") -> int:
    occasion = Occasion(at, "1.2", "ab" * 32, board, commit="c0ffee1", rung=3, host="desk")
    return record(path, verdict, occasion)


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "history.sqlite3"
    assert keep(path, PASSED, AT.astimezone(timezone(timedelta(hours=2))), board="rp2350") == 1
    assert list_runs(path) == (
        Run(
            1,
            "2026-11-22T18:00:00Z",
            "cartpole_ppo",
            "rp2350",
            Outcome.PASS,
            "ab" * 32,
            "1.2",
            "c0ffee1",
            3,
            "desk",
        ),
    )
    answers = {answer.name: answer for answer in answers_of(path, 1)}
    assert set(answers) == {check.name for check in PASSED.checks}
    for check in PASSED.checks:
        answer = answers[check.name]
        assert (answer.outcome, answer.found, answer.allowed, answer.unit, answer.kind) == (
            check.outcome,
            check.found,
            check.allowed,
            check.unit,
            check.kind,
        )


def test_the_latest_runs_of_a_policy_are_listed_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    for number in range(6):
        keep(path, replace(PASSED, policy=f"policy_{number % 2}"))
    assert [run.number for run in list_runs(path, limit=3)] == [4, 5, 6]
    assert [run.number for run in list_runs(path, "policy_0", limit=2)] == [3, 5]
    assert list_runs(path, "unheard") == ()


def test_two_runs_differ_in_what_changed_only(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    keep(path, PASSED)
    keep(path, FAILED)
    changes = {change.name: change for change in compare_runs(path, 1, 2)}
    assert set(changes) == {"equality_litert", "equality_onnxruntime"}
    before, after = changes["equality_litert"].before, changes["equality_litert"].after
    assert before is not None
    assert after is not None
    assert (before.outcome, after.outcome) == (Outcome.PASS, Outcome.NOT_PROVEN)
    assert after.found is None


def test_a_figure_is_followed_over_the_runs_that_have_it(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    keep(path, PASSED)
    keep(path, FAILED)  # its equality has no figure
    keep(path, PASSED)
    assert [run.number for run, _ in figure_over_runs(path, "equality_litert")] == [1, 3]
    assert [
        answer.found
        for _, answer in figure_over_runs(path, "budget_artifact_bytes", "cartpole_ppo")
    ] == [12_000.0] * 3
    with pytest.raises(InputError, match="no run has a figure unheard: quarl history --csv"):
        figure_over_runs(path, "unheard")
    with pytest.raises(InputError, match=r"did you mean equality_litert\?"):
        figure_over_runs(path, "equality_litter")


@pytest.mark.long
def test_writers_side_by_side_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) for _ in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    runs = list_runs(path, limit=1000)
    assert [run.number for run in runs] == list(range(1, 101))
    assert all(len(answers_of(path, number)) == 20 for number in (1, 50, 100))


FORMAT_1 = """
CREATE TABLE runs (
        number INTEGER PRIMARY KEY, at TEXT NOT NULL, policy TEXT NOT NULL,
        board TEXT NOT NULL, passed INTEGER NOT NULL,
        manifest_sha256 TEXT NOT NULL, version TEXT NOT NULL);
CREATE TABLE checks (
        run INTEGER NOT NULL REFERENCES runs (number), name TEXT NOT NULL,
        passed INTEGER, found REAL, allowed REAL, unit TEXT NOT NULL,
        kind TEXT NOT NULL, PRIMARY KEY (run, name)) WITHOUT ROWID;
CREATE INDEX runs_of_policy ON runs (policy, number);
INSERT INTO runs VALUES (1, '2026-01-01T00:00:00Z', 'old', '', 1, 'ab', '0.9');
INSERT INTO runs VALUES (2, '2026-01-02T00:00:00Z', 'old', '', 0, 'ab', '0.9');
INSERT INTO checks VALUES (2, 'a', 1, 1.5, 2.0, 'B', 'exact');
INSERT INTO checks VALUES (2, 'b', 0, 3.0, 2.0, 'B', 'exact');
INSERT INTO checks VALUES (2, 'c', NULL, 4.0, NULL, 'B', 'exact');
PRAGMA application_id = 0x7175726C;
PRAGMA user_version = 1;
"""


FORMAT_2 = (
    FORMAT_1.replace("passed INTEGER NOT NULL", "answer TEXT NOT NULL")
    .replace("passed INTEGER", "outcome TEXT NOT NULL")
    .replace("'', 1, 'ab'", "'', 'pass', 'ab'")
    .replace("'', 0, 'ab'", "'', 'fail', 'ab'")
    .replace("'a', 1,", "'a', 'pass',")
    .replace("'b', 0,", "'b', 'fail',")
    .replace("'c', NULL, 4.0", "'c', 'reported', 4.0")
    .replace("user_version = 1", "user_version = 2")
)


@pytest.mark.parametrize("before", [FORMAT_1, FORMAT_2], ids=["format 1", "format 2"])
@pytest.mark.parametrize("is_written_first", [False, True])
def test_a_history_of_a_format_before_is_read_and_written(
    tmp_path: Path, is_written_first: bool, before: str
) -> None:
    path = tmp_path / "history.sqlite3"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(before)
    if is_written_first:
        assert keep(path, PASSED) == 3
    answers = [run.answer for run in list_runs(path, "old")]
    assert answers == [Outcome.PASS, Outcome.FAIL]
    assert [(a.name, a.outcome, a.found, a.allowed) for a in answers_of(path, 2)] == [
        ("a", Outcome.PASS, 1.5, 2.0),
        ("b", Outcome.FAIL, 3.0, 2.0),
        ("c", Outcome.REPORTED, 4.0, None),
    ]
    keep(path, PASSED)
    assert answers_of(path, 2)[0].kind == "exact"


def test_there_is_no_history_before_the_first_run(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    assert list_runs(path) == ()
    with pytest.raises(InputError, match="no history yet"):
        answers_of(path, 1)
    assert not path.exists()


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    keep(path, PASSED)
    with pytest.raises(InputError, match="has no run 7; its runs are numbered 1 to 1"):
        compare_runs(path, 1, 7)


@pytest.mark.parametrize("place", [0, 40, 5_000, 9_000])
def test_a_damaged_history_is_reported_and_left_as_it_is(tmp_path: Path, place: int) -> None:
    path = tmp_path / "history.sqlite3"
    for _ in range(20):
        keep(path, PASSED)
    damaged = bytearray(path.read_bytes())
    damaged[place : place + 4_000] = b"\x5a" * 4_000
    path.write_bytes(damaged)
    with pytest.raises(
        InputError, match=r"history\.sqlite3: .*(damaged|another program|cannot be opened)"
    ):
        keep(path, PASSED)
    assert path.read_bytes() == bytes(damaged)


def test_of_a_long_history_the_latest_runs_are_looked_through(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    keep(path, PASSED)
    with closing(sqlite3.connect(path)) as database, database:
        many = "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
        database.execute(
            f"{many} INSERT INTO runs SELECT i, at, policy, board, answer, manifest_sha256, "
            "version, git_commit, rung, host FROM n, runs WHERE number = 1"
        )
    steps: list[int] = []
    for count in (2_001, 2_002):
        assert keep(path, PASSED) == count
    with closing(sqlite3.connect(path)) as database:
        database.set_progress_handler(lambda: steps.append(1), 1)
        _look_through(database)
    assert len(steps) < 50 * LOOKED_THROUGH  # instructions of SQLite; a check of all takes more
    pages = path.stat().st_size // 4096
    damaged = bytearray(path.read_bytes())
    damaged[(pages - 12) * 4096 : pages * 4096] = b"\x5a" * (12 * 4096)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="damaged"):
        keep(path, PASSED)
    assert path.read_bytes() == bytes(damaged)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"{}"])
def test_a_file_of_something_else_is_not_written_to(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"notes\.txt"):
        keep(path, PASSED)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_not_written_to(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE runs (number INTEGER)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="database of another program"):
        keep(path, PASSED)
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be opened"):
        keep(tmp_path / "file" / "history.sqlite3", PASSED)


def test_every_check_of_every_run_is_a_row_of_csv(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite3"
    keep(path, PASSED, board="pico")
    keep(path, FAILED)
    rows = list(csv.DictReader(io.StringIO(history_csv(all_answers(path, None, 20)))))
    assert len(rows) == len(PASSED.checks) + len(FAILED.checks)
    assert {row["commit"] for row in rows} == {"c0ffee1"}
    assert {(row["number"], row["board"], row["rung"]) for row in rows} == {
        ("1", "pico", "3"),
        ("2", "", "3"),
    }


def test_curves_are_svg_whatever_a_policy_is_called(tmp_path: Path) -> None:
    need("matplotlib")
    path = tmp_path / "history.sqlite3"
    for name in ("$x_", "</svg>", "cartpole_ppo"):
        keep(path, replace(PASSED, policy=name))
    figures = figure_over_runs(path, "budget_artifact_bytes")
    svg = curves_svg(figures)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "$x_" in svg
    assert svg == curves_svg(figures)


def test_a_history_whose_writer_was_killed_is_read(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite3"
    record(path, PASSED, Occasion(AT, "1", "ab" * 32))
    child = os.fork()
    if child == 0:
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("PRAGMA cache_size = 2")
        database.execute("BEGIN IMMEDIATE")
        more = "SELECT run, name || ?, outcome, found, allowed, ?, kind FROM checks LIMIT 1"
        for number in range(3_000):  # more than the cache holds: half of it is in the file
            database.execute(f"INSERT INTO checks {more}", (str(number), "x" * 500))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert path.with_name("h.sqlite3-journal").exists()
    assert [run.number for run in list_runs(path)] == [1]
