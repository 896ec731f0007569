"""Processes end in time, answer or say why not."""

from __future__ import annotations

import sys
import threading

import pytest

from quarl import tools
from quarl.errors import DeviceError, ToolMissingError


def test_a_process_gets_its_input_and_returns_both_outputs_and_its_code() -> None:
    code = "import sys; sys.stderr.write('e'); print(sys.stdin.read().upper(), end=''); sys.exit(3)"
    done = tools.run([sys.executable, "-c", code], input=b"abc", timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"ABC", b"e")


def test_a_program_that_is_not_there_is_named() -> None:
    for start in (
        lambda: tools.run(["no-such-program"], timeout=5),
        lambda: tools.Conversation(["no-such-program"], timeout=5),
    ):
        with pytest.raises(ToolMissingError, match="no-such-program"):
            start()


@pytest.mark.long
def test_a_process_that_does_not_end_is_stopped() -> None:
    with pytest.raises(DeviceError, match="did not end within"):
        tools.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.3)


def test_a_conversation_answers_each_request() -> None:
    code = (
        "import sys, json\nfor line in sys.stdin: print(json.dumps({'got': "
        "json.loads(line)['n'] + 1}), flush=True)"
    )
    with tools.Conversation([sys.executable, "-c", code], timeout=30) as worker:
        assert [worker.ask({"n": n})["got"] for n in (1, 5)] == [2, 6]


def test_a_worker_that_dies_is_quoted() -> None:
    code = "import sys; sys.stdin.readline(); sys.exit('the runtime crashed')"
    with (
        tools.Conversation([sys.executable, "-c", code], timeout=30) as worker,
        pytest.raises(DeviceError, match="the runtime crashed"),
    ):
        worker.ask({})


@pytest.mark.long
def test_a_worker_that_keeps_silent_is_stopped() -> None:
    with (
        tools.Conversation(
            [sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.3
        ) as worker,
        pytest.raises(DeviceError, match="without an answer"),
    ):
        worker.ask({})


def test_the_profile_s_worker_reports_a_model_it_cannot_load() -> None:
    with (
        tools.Conversation(tools.own_module("quarl.runtimes.worker"), timeout=60) as worker,
        pytest.raises(DeviceError, match="No such file"),
    ):
        worker.ask(
            {
                "ask": "load",
                "runtime": "litert",
                "model": "none.tflite",
                "inputs": "none.npy",
                "warm_up_s": 0.01,
            }
        )


def test_who_is_stopped_while_an_answer_is_asked_for_waits_for_no_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal may come while the thread that watches the time starts."""
    start = threading.Timer.start

    def stopped(timer: threading.Timer) -> None:
        start(timer)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Timer, "start", stopped)
    with (
        tools.Conversation([sys.executable, "-c", "input()"], timeout=30) as worker,
        pytest.raises(KeyboardInterrupt),
    ):
        worker.ask({})
    clocks = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert all(clock.daemon or clock.finished.is_set() for clock in clocks)
    assert not any(clock.is_alive() and not clock.finished.is_set() for clock in clocks)
