"""Processes that are forked from a warm one say what fresh interpreters say, and end as they do."""

from __future__ import annotations

import pytest

from quarl.errors import InputError
from quarl.importers.hdf5 import open_hdf5
from quarl.tools import Blocks, own_module
from tests.fuzz import seeds, warm


def told(data: bytes) -> str:
    try:
        return repr(open_hdf5(data, "file.h5"))
    except InputError as error:
        return str(error)


def test_a_forked_process_answers_as_a_fresh_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "STARTED_SHARE", 10**9)
    data = seeds.hdf5()[0]
    files = [data, data[:2_000], b"", b"\x89HDF\r\n\x1a\n" + bytes(200)]
    fresh = [told(file).partition("content=")[0] for file in files]
    with warm.warm_processes():
        assert [told(file).partition("content=")[0] for file in files] == fresh
        assert set(warm._nurseries) == {"quarl.importers.hdf5_worker"}
    assert not warm._nurseries


def test_a_forked_process_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "STARTED_SHARE", 10**9)
    with warm.warm_processes():
        blocks = Blocks(own_module("quarl.importers.hdf5_worker"), timeout=5)
        process = blocks._process
        assert process.poll() is None
        process.kill()
        assert process.wait() == -9
        del blocks
