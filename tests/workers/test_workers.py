"""The numbers do not depend on who computes, nor does a loss of one of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quarl.workers import Here, Processes, Workers, open_workers
from tests.conftest import need

CALLS = [(place, f"{place}") for place in range(7)]


def square(place: int, text: str) -> tuple[int, str]:
    return place * place, text


def die_once(folder: str, place: int) -> int:
    """Return the place; the process that is first to compute it dies."""
    mark = Path(folder) / str(place)
    if place == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), 9)
    return place


@pytest.mark.parametrize("workers", [Here(), Processes(2)], ids=["here", "processes"])
def test_every_call_is_answered(workers: Workers) -> None:
    assert sorted(workers.run(square, CALLS)) == sorted(square(*call) for call in CALLS)
    assert list(workers.run(square, [])) == []


def test_ray_gives_the_same_and_computes_again_what_was_lost(tmp_path: Path) -> None:
    need("ray")
    with open_workers(None, "local") as workers:
        assert sorted(workers.run(square, CALLS)) == sorted(square(*call) for call in CALLS)
        calls = [(str(tmp_path), place) for place in range(3)]
        assert sorted(workers.run(die_once, calls)) == [0, 1, 2]
        assert (tmp_path / "1").exists()
