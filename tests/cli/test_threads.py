"""Matrix products of quarl's own processes use one thread, unless the user says otherwise."""

from __future__ import annotations

import os

import pytest

from quarl import cli
from quarl.tools import ONE_THREAD


def test_one_thread_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ONE_THREAD:
        monkeypatch.delenv(name, raising=False)
    cli._use_one_thread()
    assert {name: os.environ[name] for name in ONE_THREAD} == ONE_THREAD


def test_what_the_user_asks_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    cli._use_one_thread()
    assert os.environ["OMP_NUM_THREADS"] == "8"
    assert "OPENBLAS_NUM_THREADS" not in os.environ
