"""The numbers do not depend on who computes, nor does a loss of one of them."""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quarl.errors import DeviceError, InputError
from quarl.workers import HERE, Workers, open_workers
from quarl.workers.processes import Processes, _Child, beside
from quarl.workers.processors import processors
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


def leave(place: int) -> int:
    if place == 1:
        os._exit(3)
    return place


def refuse(place: int) -> int:
    if place == 1:
        raise InputError(f"place {place} cannot be played")
    return place


def leave_politely(place: int) -> int:
    sys.exit(4)


def shout(text: str) -> tuple[int, int]:
    print(text)
    return os.getpid(), processors()


@pytest.fixture
def two() -> Iterator[Processes]:
    workers = Processes(2)
    yield workers
    workers.close()


@pytest.mark.long
@pytest.mark.parametrize("name", ["here", "processes"])
def test_every_call_is_answered(name: str, two: Processes) -> None:
    workers: Workers = HERE if name == "here" else two
    assert sorted(workers.run(square, CALLS)) == sorted(square(*call) for call in CALLS)
    assert list(workers.run(square, [])) == []


@pytest.mark.long
def test_processes_stay_for_the_next_calls_and_have_one_processor(two: Processes) -> None:
    first, second = (dict(two.run(shout, [("a",), ("b",), ("c",)])) for _ in range(2))
    assert 1 <= len(first) <= 2
    assert set(second) <= set(first) | {os.getpid()}
    assert os.getpid() not in first
    assert set(first.values()) == {1}


@pytest.mark.long
def test_what_a_worker_prints_is_not_standard_output(
    two: Processes, capfd: pytest.CaptureFixture[str]
) -> None:
    list(two.run(shout, [("words of an environment",)]))
    two.close()
    out, err = capfd.readouterr()
    assert out == ""
    assert "words of an environment" in err


@pytest.mark.long
def test_a_worker_that_dies_is_named_and_its_work_done_again(tmp_path: Path) -> None:
    told: list[str] = []
    workers = Processes(2, tell=told.append)
    calls = [(str(tmp_path), place) for place in range(5)]
    assert sorted(workers.run(die_once, calls)) == [0, 1, 2, 3, 4]
    workers.close()
    assert len(told) == 1
    assert told[0].startswith("worker ")
    assert "was ended by SIGKILL: its work is done again" in told[0]


@pytest.mark.long
def test_work_that_ends_two_workers_is_given_up_and_nothing_is_left_running() -> None:
    told: list[str] = []
    workers = Processes(2, tell=told.append)
    with pytest.raises(DeviceError, match=r"worker \d \(process \d+\) ended with exit code 3, as"):
        list(workers.run(leave, [(place,) for place in range(4)]))
    assert sorted(workers.run(square, CALLS)) == sorted(square(*call) for call in CALLS)
    workers.close()
    assert len(told) == 1


@pytest.mark.long
def test_what_a_call_raises_is_raised_here(two: Processes) -> None:
    with pytest.raises(InputError, match="place 1 cannot be played") as raised:
        list(two.run(refuse, [(place,) for place in range(4)]))
    assert "in a worker" in raised.value.__notes__[0]
    with pytest.raises(SystemExit):
        list(two.run(leave_politely, [(0,)]))


def test_one_worker_is_this_process_and_patience_is_for_an_open_number() -> None:
    with open_workers(1, None) as workers:
        assert workers is HERE
    with open_workers(2, None, patient=True) as workers:
        assert (workers.count, workers.patience_s) == (2, 0.0)
    with open_workers(None, None, patient=True) as workers:
        assert workers.count == processors()
        workers.waited(1.0)
        assert workers.patience_s == pytest.approx(2.0 if processors() > 1 else 0.0)


@pytest.mark.long
def test_ray_gives_the_same_and_computes_again_what_was_lost(tmp_path: Path) -> None:
    need("ray")
    with open_workers(None, "local") as workers:
        assert workers.count >= 1
        assert sorted(workers.run(square, CALLS)) == sorted(square(*call) for call in CALLS)
        calls = [(str(tmp_path), place) for place in range(3)]
        assert sorted(workers.run(die_once, calls)) == [0, 1, 2]
        assert (tmp_path / "1").exists()


@pytest.mark.long
def test_a_call_beside_returns_raises_and_dies_where_it_is_waited_for() -> None:
    with beside(square, 3, "x") as answer:
        assert answer() == (9, "x")
    with beside(refuse, 1) as answer, pytest.raises(InputError, match="place 1"):
        answer()
    with beside(leave, 1) as answer, pytest.raises(DeviceError, match="exit code 3"):
        answer()
    with beside(leave, 1):
        pass


def rest(seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.long
def test_a_worker_whose_parent_has_left_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    child = _Child(1)
    child.send(pickle.dumps((rest, (0.5,))))
    child.pipe.close()
    assert child._process.wait(20) == 0
    assert capfd.readouterr().err == ""
