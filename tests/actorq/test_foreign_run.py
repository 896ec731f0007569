"""A run's folder that was edited, cut off or filled by somebody else: each file is read within
bounds, and what is not as it was written is one message.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.actorq.accounts import Account
from quarl.actorq.checkpoint import LEARNER_FILE, read_learner, read_rows
from quarl.actorq.documents import account_from
from quarl.actorq.evaluating import CURVE_FILE, read_curve
from quarl.actorq.folder import ACCOUNTS_FILE, RUN_FILE, TIME_FILE, wall_s
from quarl.actorq.record import read_record
from quarl.actorq.settings import Settings
from quarl.actorq.store import ROWS_FILE, STATE_FILE, Store
from quarl.errors import InputError
from quarl.study.store import Store as Cells
from tests.conftest import need
from tests.fuzz.around import run_seeds
from tests.fuzz.seeds import unpack

ROW = np.dtype([("obs", "f4", (4,)), ("reward", "f4")])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    unpack(run_seeds()[0], tmp_path / "run")
    return tmp_path / "run"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_run_of_these_tests_is_read(run: Path) -> None:
    record = read_record(run)
    assert (record.precision, record.case.layers, len(record.actors)) == ("int8", (256, 256), 2)
    assert record.actors[0].phase("environment") > 0
    assert wall_s(run) == 12.5
    assert Cells(run).find("abcd") is not None


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (RUN_FILE, {"seed": "1"}),
        (RUN_FILE, {"name": "\x1b[2J"}),
        (RUN_FILE, {"settings": {"layers": [1 << 40]}}),
        (ACCOUNTS_FILE, {"wall_s": "long"}),
        (ACCOUNTS_FILE, {"actors": None}),
        (ACCOUNTS_FILE, {"actors": [None]}),
        (ACCOUNTS_FILE, {"learner": {"name": "a", "phases_s": {"wait": "x"}}}),
        (ACCOUNTS_FILE, {"ages": {"bins": [1e999]}}),
    ],
)
def test_a_document_that_says_something_else_is_refused(
    run: Path, name: str, changes: dict[str, Any]
) -> None:
    edit(run / name, **changes)
    with pytest.raises(InputError, match=name):
        read_record(run)


@pytest.mark.parametrize("text", ["", "[1]", '{"wall_s": "a"}', '{"wall_s": -1}', "[" * 100_000])
def test_a_time_that_is_none_is_refused(run: Path, text: str) -> None:
    (run / TIME_FILE).write_text(text)
    with pytest.raises(InputError, match=TIME_FILE):
        wall_s(run)


def test_a_pipe_in_the_place_of_a_document_is_not_waited_for(run: Path) -> None:
    for name in (RUN_FILE, ACCOUNTS_FILE):
        (run / name).unlink()
        os.mkfifo(run / name)
    with pytest.raises(InputError, match="a pipe"):
        read_record(run)


@pytest.mark.parametrize("row", ["a,b", "1", "1," * 40, f"{'9' * 5_000}{',1' * 12}", '"'])
def test_a_curve_of_other_columns_is_refused(run: Path, row: str) -> None:
    path = run / CURVE_FILE
    path.write_text(f"{path.read_text()}{row}\n")
    with pytest.raises(InputError, match="not the curve of a run"):
        read_curve(run)


def test_a_cell_of_a_study_that_was_edited_is_computed_again(run: Path) -> None:
    path = run / "cells/ab/abcd.json"
    for changes in ({"returns": ["a"]}, {"episodes": None}, {"more": 1}):
        good = path.read_bytes()
        edit(path, **changes)
        assert Cells(run).find("abcd") is None
        path.write_bytes(good)
    path.write_text("[" * 100_000)
    assert Cells(run).find("abcd") is None


def claims(shape: tuple[int, ...], dtype: np.dtype[Any], rows: bytes) -> bytes:
    text = f"{{'descr': {dtype.descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + rows


@pytest.mark.parametrize(
    "data",
    [
        b"", b"rows", claims((1 << 40,), ROW, bytes(40)), claims((1, 1), ROW, bytes(20)),
        claims((2,), np.dtype([("obs", "f8")]), bytes(16)), claims((1,), np.dtype("O"), bytes(8)),
    ],
)  # fmt: skip
def test_rows_of_a_checkpoint_that_are_none_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / ROWS_FILE
    path.write_bytes(data)
    with pytest.raises(InputError, match="not part of a checkpoint"):
        read_rows(path, ROW)


def test_rows_that_were_saved_are_read(tmp_path: Path) -> None:
    rows = np.zeros(3, ROW)
    rows["reward"] = 1, 2, 3
    np.save(tmp_path / ROWS_FILE, rows)
    np.testing.assert_array_equal(read_rows(tmp_path / ROWS_FILE, ROW), rows)


@pytest.mark.parametrize(
    "state", ["", "{}", '{"random": {}}', '{"inserted": "a"}', "[" * 100_000, '{"sampled": NaN}']
)
def test_counters_of_a_checkpoint_that_are_none_are_refused(tmp_path: Path, state: str) -> None:
    np.save(tmp_path / ROWS_FILE, np.zeros(0, ROW))
    (tmp_path / STATE_FILE).write_text(state)
    with pytest.raises(InputError, match=STATE_FILE):
        Store(Settings(), ROW, 0).restore(tmp_path)


def test_a_learner_that_is_none_is_refused(tmp_path: Path) -> None:
    need("torch")
    for data in (b"", b"PK\x03\x04", b"\x80\x02cos\nsystem\n(X\x04\0\0\0trueR."):
        (tmp_path / LEARNER_FILE).write_bytes(data)
        with pytest.raises(InputError, match="not part of a checkpoint"):
            read_learner(tmp_path)


def test_an_account_says_every_phase() -> None:
    table = Account("actor 0").to_table()
    assert account_from(json.loads(json.dumps(table)), "here") == Account("actor 0")
    assert isinstance(table["phases_s"], dict)
    table["phases_s"].popitem()
    with pytest.raises(InputError, match="here: is not what a run"):
        account_from(table, "here")
