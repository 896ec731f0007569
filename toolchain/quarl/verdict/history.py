"""The history of verdicts: one SQLite file, a row for each run of the gate and one for each of its
checks.

Goes in: a verdict and what it was on. Comes out: the runs of a policy, a figure over the runs, what
changed between two of them.
Format: toolchain/docs/formats.md.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from quarl.errors import InputError
from quarl.files.tables import did_you_mean
from quarl.files.text import shortened
from quarl.resources import home_dir
from quarl.verdict.history_file import opened
from quarl.verdict.verdict import Outcome

if TYPE_CHECKING:
    from quarl.verdict.verdict import Verdict

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
    with opened(path, write=True) as database:
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
    with opened(path, write=False) as database:
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
    with opened(path, write=False) as database:
        if database.execute("SELECT 1 FROM runs WHERE number = ?", (number,)).fetchone() is None:
            last = _whole(database.execute("SELECT max(number) FROM runs").fetchone()[0] or 0)
            raise InputError(
                f"{path}: has no run {number}; its runs are numbered 1 to {last}. List "
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
    known: list[str] = []
    if path.exists():
        where, values = ("", ()) if policy is None else ("AND runs.policy = ?", (policy,))
        query = (
            f"SELECT {_RUN_COLUMNS}, checks.name, checks.outcome, checks.found, checks.allowed, "
            "checks.unit, checks.kind FROM runs"
            " JOIN checks ON checks.run = runs.number WHERE checks.name = ? AND checks.found "
            f"IS NOT NULL {where}"
            " ORDER BY runs.number DESC LIMIT ?"
        )
        with opened(path, write=False) as database:
            rows = database.execute(query, (check, *values, limit)).fetchall()
            count = len(_COLUMNS)
            found = [(_run(row[:count]), _answer(row[count:])) for row in reversed(rows)]
            if not found:
                names = database.execute("SELECT DISTINCT name FROM checks")
                known = [_text(name) for (name,) in names]
    if not found:
        raise InputError(
            f"{path}: no run has a figure {check}{did_you_mean(check, known)}: quarl history --csv "
            "FILE lists every figure of every run"
        )
    return tuple(found)


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
