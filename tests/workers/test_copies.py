"""Calls in copies of a process: what they return, and what happens where one cannot.

Each script is a process of its own: the process of the tests has threads, so it is never copied.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no other system copies processes")

ROOT = Path(__file__).parents[2]
HEAD = """
import os, sys, threading
from quarl.workers.copies import can_be_copied, side_by_side
home = os.getpid()
"""


def said(script: str) -> tuple[str, str]:
    """Return what a script writes to stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        cwd=ROOT,
    )
    return done.stdout.strip(), done.stderr


def test_results_come_in_the_order_of_the_calls_and_from_other_processes() -> None:
    out, _ = said(
        "print([(n, where == home) for n, where in"
        " side_by_side(lambda n: (n, os.getpid()), [(1,), (2,), (3,)])])"
    )
    assert out == "[(1, True), (2, False), (3, False)]"


def test_nothing_is_copied_beside_a_thread() -> None:
    out, _ = said(
        "event = threading.Event(); thread = threading.Thread(target=event.wait); thread.start()\n"
        "print(can_be_copied(), side_by_side(lambda n: (n, os.getpid() == home), [(1,), (2,)]))\n"
        "event.set(); thread.join()"
    )
    assert out == "False [(1, True), (2, True)]"


@pytest.mark.parametrize(
    "ending",
    ["os._exit(0)", "os.kill(os.getpid(), 9)", "sys.exit(0)", "raise KeyError", "return print"],
)
def test_a_call_whose_copy_fails_is_made_again_here(ending: str) -> None:
    out, _ = said(
        "def call(n):\n"
        f"    if os.getpid() != home: {ending}\n"
        "    return n\n"
        "print(side_by_side(call, [(1,), (2,)]))"
    )
    assert out == ("[1, <built-in function print>]" if "return" in ending else "[1, 2]")


def test_an_error_of_the_call_is_raised_here_and_no_copy_is_left() -> None:
    out, _ = said(
        "def call(n):\n"
        "    if n == 2: raise ValueError('seed 7')\n"
        "try: side_by_side(call, [(1,), (2,), (3,)])\n"
        "except ValueError as error: print(error)\n"
        "try: os.waitpid(-1, 0)\n"
        "except ChildProcessError: print('alone')"
    )
    assert out.split("\n") == ["seed 7", "alone"]


def test_what_a_copy_prints_is_no_answer_of_the_program() -> None:
    out, err = said(
        "print('before', end=' ', flush=True)\n"
        "side_by_side(lambda n: os.write(1, n), [(b'mine',), (b'its',)])"
    )
    assert sorted(out.split()) == ["before", "mine"]
    assert err == "its"


@pytest.mark.long
def test_shares_played_in_a_copy_are_the_episodes_of_one_process() -> None:
    out, _ = said(
        "from functools import partial\n"
        "from quarl.graph.env_spec import EnvSpec\n"
        "from quarl.rollouts import shares\n"
        "from quarl.workers import open_workers\n"
        "from tests.rollouts.test_shares import make_lean\n"
        "seeds = range(40)\n"
        "for patient in (False, True):\n"
        "    with open_workers(None if patient else 1, None, patient=patient) as workers:\n"
        "        field = shares.Field(EnvSpec('CartPole-v1'), workers)\n"
        "        played = shares.play_each(field, [make_lean, make_lean], seeds)\n"
        "        print(len(shares.in_shares(field, partial(shares._played, make_lean), seeds)),"
        " [(e.returns.tolist(), e.seeds) for e in played])"
    )
    alone, copied = out.split("\n")
    assert (alone[0], copied[0]) == ("1", "2")
    assert alone[1:] == copied[1:]
