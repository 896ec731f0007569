"""The file of the history: one SQLite database, opened after making sure that it is one of ours.

Writers may run side by side: each run is one transaction, and SQLite lets one after the other
write. A file that belongs to another program, or is damaged in what is looked through, is reported
and never written to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from quarl.errors import InputError

APPLICATION_ID = 0x7175726C  # "qurl": what the file says it is (SQLite's application_id)
FORMAT = 3
WAIT_S = 30.0  # for another writer
# runs that are looked through before one is added; of a longer history the latest ones, so that
# recording takes no longer the more runs are kept
LOOKED_THROUGH = 100

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


@contextmanager
def opened(path: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
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
    if write:  # only now: a view of somebody else's may have no end
        _look_through(database)
    return int(version)


def _look_through(database: sqlite3.Connection) -> None:
    """Raise where the file is damaged, or the latest runs of a long history are."""
    last = database.execute("SELECT max(rowid) FROM runs").fetchone()[0]
    if last is None or last <= LOOKED_THROUGH:
        damage = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)
        return
    first = last - LOOKED_THROUGH
    runs = database.execute("SELECT * FROM runs WHERE number > ?", (first,)).fetchall()
    database.execute("SELECT * FROM checks WHERE run > ?", (first,)).fetchall()
    by_policy = "SELECT number FROM runs INDEXED BY runs_of_policy WHERE policy = ? AND number > ?"
    known = {
        number
        for policy in {row[2] for row in runs}
        for (number,) in database.execute(by_policy, (policy, first))
    }
    if known != {row[0] for row in runs}:
        raise sqlite3.DatabaseError("the index of its runs lacks some")


def _plain(sql: str | None) -> str:
    """Return the text of a table as SQLite keeps it, whatever its spaces."""
    return " ".join((sql or "").replace(" IF NOT EXISTS", "").split())
