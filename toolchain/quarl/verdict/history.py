"""The history of verdicts: one SQLite file, a row for each run of the gate and one for each of its
checks.

Goes in: a verdict and what it was on. Comes out: the runs of a policy, a figure over the runs, what
changed between two of them.
Writers may run side by side: each run is one transaction, and SQLite lets one after the other
write. A file that is damaged or belongs to another program is reported and never written to.
Format: toolchain/docs/formats.md.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from quarl.errors import InputError
from quarl.files.text import shortened
from quarl.resources import home_dir
from quarl.verdict.verdict import Outcome

if TYPE_CHECKING:
    from quarl.verdict.verdict import Verdict

APPLICATION_ID = 0x7175726C  # "qurl": what the file says it is (SQLite's application_id)
FORMAT = 3
WAIT_S = 30.0  # for another writer

_TABLES = (
    """CREATE TABLE IF NOT EXISTS runs (
        number INTEGER PRIMARY KEY, at TEXT NOT NULL, policy TEXT NOT NULL,
        board TEXT NOT NULL, answer TEXT NOT NULL,
        manifest_sha256 TEXT NOT NULL, version TEXT NOT NULL,
        git_commit TEXT NOT NULL, rung INTEGER, host TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS checks (
        run INTEGER NOT NULL REFERENCES runs (number), name TEXT NOT NULL,
        outcome TEXT NOT NULL, found REAL, allowed REAL, unit TEXT NOT NULL,
        kind TEXT NOT NULL, PRIMARY KEY (run, name)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS runs_of_policy ON runs (policy, number)",
)
# of format 2, which knew neither commit, rung nor host
_TABLES_2 = (
    _TABLES[0].replace(",\n        git_commit TEXT NOT NULL, rung INTEGER, host TEXT NOT NULL", ""),
    *_TABLES[1:],
)
# of format 1, which said passed or not: 1, 0 or, of a check without a limit, NULL
_TABLES_1 = (
    _TABLES_2[0].replace("answer TEXT NOT NULL", "passed INTEGER NOT NULL"),
    _TABLES_2[1].replace("outcome TEXT NOT NULL", "passed INTEGER"),
    _TABLES_2[2],
)
_RENAMED = (
    "ALTER TABLE runs RENAME TO old_runs",
    "ALTER TABLE checks RENAME TO old_checks",
    "DROP INDEX runs_of_policy",
    *_TABLES,
)
_COPIED = {  # by format
    1: (
        "INSERT INTO runs SELECT number, at, policy, board, CASE passed WHEN 1 THEN 'pass' ELSE "
        "'fail' END, manifest_sha256, version, '', NULL, '' FROM old_runs",
        "INSERT INTO checks SELECT run, name, CASE passed WHEN 1 THEN 'pass' WHEN 0 THEN 'fail' "
        "ELSE 'reported' END, found, allowed, unit, kind FROM old_checks",
    ),
    2: (
        "INSERT INTO runs SELECT *, '', NULL, '' FROM old_runs",
        "INSERT INTO checks SELECT * FROM old_checks",
    ),
}
_REMOVED = (
    "DROP TABLE old_checks",
    "DROP TABLE old_runs",
    f"PRAGMA user_version = {FORMAT}",
)
_COLUMNS = (
    "number",
    "at",
    "policy",
    "board",
    "answer",
    "manifest_sha256",
    "version",
    "git_commit",
    "rung",
    "host",
)
_RUN_COLUMNS = ", ".join(f"runs.{column}" for column in _COLUMNS)


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a verdict was given on, when and where."""

    at: datetime  # with its time zone
    version: str  # of quarl
    manifest_sha256: str
    board: str = ""  # "" where the bundle is for none
    commit: str = ""  # of the repository it was run in; "" where there is none
    rung: int | None = None  # None: integers that came as a file
    host: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the gate."""

    number: int
    at: str  # UTC, ISO 8601, to the second
    policy: str
    board: str  # "" where the bundle is for none
    answer: Outcome
    manifest_sha256: str
    version: str  # of quarl
    commit: str = ""  # of the repository it was run in; "" where there was none
    rung: int | None = None  # None: not known, or integers that came as a file
    host: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A check's answer in one run."""

    name: str
    outcome: Outcome
    found: float | None
    allowed: float | None
    unit: str
    kind: str


@dataclass(frozen=True, slots=True)
class Change:
    """A check whose answer differs between two runs; None where the run does not have it."""

    name: str
    before: Answer | None
    after: Answer | None


def default_path() -> Path:
    """Return where the history lies: the user's data folder of this platform.

    Raises:
        InputError: the user has no home folder.
    """
    from platformdirs import user_data_path

    if home_dir() is None and not os.environ.get("XDG_DATA_HOME"):
        raise InputError(
            "this user has no home folder for the history: set HOME or QUARL_HISTORY, or name a "
            "file with --history"
        )
    return user_data_path("quarl", appauthor=False) / "history.sqlite3"


def record(path: Path, verdict: Verdict, occasion: Occasion) -> int:
    """Add a run to the history and return its number; the file and its folder are made where there
    is none.

    Raises:
        InputError: the file is damaged, belongs to something else, or cannot be written.
    """
    with _opened(path, write=True) as database:
        database.execute("BEGIN IMMEDIATE")
        row = (
            occasion.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            verdict.policy,
            occasion.board,
            verdict.answer.value,
            occasion.manifest_sha256,
            occasion.version,
            occasion.commit,
            occasion.rung,
            occasion.host,
        )
        number = database.execute(
            f"INSERT INTO runs ({', '.join(_COLUMNS[1:])}) VALUES ({', '.join('?' * len(row))})",
            row,
        )
        run = int(number.lastrowid or 0)
        database.executemany(
            "INSERT INTO checks VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (run, c.name, c.outcome.value, c.found, c.allowed, c.unit, c.kind)
                for c in verdict.checks
            ],
        )
        database.execute("COMMIT")
    return run


def list_runs(path: Path, policy: str | None = None, limit: int = 20) -> tuple[Run, ...]:
    """Return the latest runs, of one policy or of all, oldest first; none where there is no file
    yet.

    Raises:
        InputError: the file is damaged or belongs to something else.
    """
    if not path.exists():
        return ()
    where, values = ("", ()) if policy is None else ("WHERE policy = ?", (policy,))
    with _opened(path, write=False) as database:
        rows = database.execute(
            f"SELECT {_RUN_COLUMNS} FROM runs {where} ORDER BY number DESC LIMIT ?",
            (*values, limit),
        ).fetchall()
        return tuple(_run(row) for row in reversed(rows))


def answers_of(path: Path, number: int) -> tuple[Answer, ...]:
    """Return the checks of a run, by name.

    Raises:
        InputError: there is no such run, or as `list_runs`.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no history yet. Run quarl gate or quarl ship first.")
    with _opened(path, write=False) as database:
        if database.execute("SELECT 1 FROM runs WHERE number = ?", (number,)).fetchone() is None:
            last = database.execute("SELECT max(number) FROM runs").fetchone()[0]
            raise InputError(
                f"{path}: has no run {number}; its runs are numbered 1 to {last or 0}. List "
                "them with quarl history."
            )
        query = (
            "SELECT name, outcome, found, allowed, unit, kind FROM checks WHERE run = ? "
            "ORDER BY name"
        )
        return tuple(_answer(row) for row in database.execute(query, (number,)))


def all_answers(path: Path, policy: str | None, limit: int) -> Iterator[tuple[Run, Answer]]:
    """Yield every check of the latest runs, oldest first; errors as `list_runs`."""
    for run in list_runs(path, policy, limit):
        for answer in answers_of(path, run.number):
            yield run, answer


def compare_runs(path: Path, before: int, after: int) -> tuple[Change, ...]:
    """Return the checks whose answers differ between two runs, by name.

    Raises:
        InputError: as `answers_of`.
    """
    first, second = (
        {answer.name: answer for answer in answers_of(path, number)} for number in (before, after)
    )
    changes = (
        Change(name, first.get(name), second.get(name)) for name in sorted({*first, *second})
    )
    return tuple(change for change in changes if change.before != change.after)


def figure_over_runs(
    path: Path, check: str, policy: str | None = None, limit: int = 20
) -> tuple[tuple[Run, Answer], ...]:
    """Return what a check found in the latest runs that made it, oldest first.

    Raises:
        InputError: no run made it, or as `list_runs`.
    """
    found: list[tuple[Run, Answer]] = []
    if path.exists():
        where, values = ("", ()) if policy is None else ("AND runs.policy = ?", (policy,))
        query = (
            f"SELECT {_RUN_COLUMNS}, checks.name, checks.outcome, checks.found, checks.allowed, "
            "checks.unit, checks.kind FROM runs"
            " JOIN checks ON checks.run = runs.number WHERE checks.name = ? AND checks.found "
            f"IS NOT NULL {where}"
            " ORDER BY runs.number DESC LIMIT ?"
        )
        with _opened(path, write=False) as database:
            rows = database.execute(query, (check, *values, limit)).fetchall()
            count = len(_COLUMNS)
            found = [(_run(row[:count]), _answer(row[count:])) for row in reversed(rows)]
    if not found:
        raise InputError(
            f"{path}: no run has a figure {check}. quarl history --diff A B shows the names "
            "of the checks that changed."
        )
    return tuple(found)


@contextmanager
def _opened(path: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    """Open the history, after making sure that it is one."""
    try:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is not a regular file: name another one with --history")
        with closing(_connected(path, _mode(path, write))) as database:
            if _check_owner(database, path, write) < FORMAT:
                with closing(_connected(path, "rw")) as writer:
                    _renew(writer)
            yield database
    except sqlite3.OperationalError as error:
        raise InputError(
            f"{path}: the history cannot be opened or written ({error}). Name another file "
            "with --history."
        ) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: the history is damaged ({error}); nothing was written. Move it elsewhere, or "
            "name another file."
        ) from error
    except OSError as error:
        raise InputError(
            f"{path}: the history cannot be opened ({error.strerror or error}). Name another "
            "file with --history."
        ) from error


def _mode(path: Path, write: bool) -> str:
    """Return how the file is opened. A writer that was killed leaves a journal, which only a
    connection that may write can take back.
    """
    if write:
        return "rwc"
    return "rw" if path.with_name(f"{path.name}-journal").exists() else "ro"


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=WAIT_S, isolation_level=None)


def _renew(database: sqlite3.Connection) -> None:
    """Bring a history of an older format to this one, whole or not at all."""
    database.execute("BEGIN IMMEDIATE")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version in _COPIED:  # nobody was faster
        for statement in (*_RENAMED, *_COPIED[version], *_REMOVED):
            database.execute(statement)
    database.execute("COMMIT")


def _check_owner(database: sqlite3.Connection, path: Path, write: bool) -> int:
    """Make the tables of an empty file, refuse one that is not ours, and return its format."""
    database.execute(
        "PRAGMA cell_size_check = ON"
    )  # a damaged page is an error, not a strange answer
    if write:
        damage = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)
        database.execute(
            "BEGIN IMMEDIATE"
        )  # two first writers at once: the second finds the tables of the first
        if not database.execute("SELECT 1 FROM sqlite_master").fetchone():
            for table in _TABLES:
                database.execute(table)
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {FORMAT}")
        database.execute("COMMIT")
    owner, version = (
        database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("application_id", "user_version")
    )
    if owner != APPLICATION_ID:
        raise InputError(
            f"{path}: is a database of another program, not a history of quarl. Name another "
            "file with --history."
        )
    expected = {1: _TABLES_1, 2: _TABLES_2, FORMAT: _TABLES}.get(version)
    if expected is None:
        raise InputError(
            f"{path}: is a history of format {version}, this quarl reads format {FORMAT}. "
            "Name another file with --history."
        )
    tables = {_plain(sql) for (sql,) in database.execute("SELECT sql FROM sqlite_master")}
    if tables != {_plain(table) for table in expected}:
        raise sqlite3.DatabaseError("its tables are not those of a history")
    return int(version)


def _plain(sql: str | None) -> str:
    """Return the text of a table as SQLite keeps it, whatever its spaces."""
    return " ".join((sql or "").replace(" IF NOT EXISTS", "").split())


def _run(row: Sequence[object]) -> Run:
    named = dict(zip(_COLUMNS, row, strict=True))
    rung = named["rung"]
    return Run(
        _whole(named["number"]),
        _text(named["at"]),
        _text(named["policy"]),
        _text(named["board"]),
        _outcome(named["answer"]),
        _text(named["manifest_sha256"]),
        _text(named["version"]),
        _text(named["git_commit"]),
        None if rung is None else _whole(rung),
        _text(named["host"]),
    )


def _answer(row: Sequence[object]) -> Answer:
    name, unit, kind = (_text(row[place]) for place in (0, 4, 5))
    return Answer(name, _outcome(row[1]), _number(row[2]), _number(row[3]), unit, kind)


def _outcome(value: object) -> Outcome:
    if not isinstance(value, str) or value not in list(Outcome):
        raise sqlite3.DatabaseError(f"{shortened(value)} where an answer belongs")
    return Outcome(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise sqlite3.DatabaseError(f"{shortened(value)} where a text belongs")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise sqlite3.DatabaseError(f"{shortened(value)} where a number belongs")
    return value


def _number(value: object) -> float | None:
    if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
        raise sqlite3.DatabaseError(f"{shortened(value)} where a number belongs")
    return value
