"""A model of a stranger runs in a process of its own: same answers, and whatever it does to its
runtime is one error.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from quarl.emitters import EMITTERS, emit_tflite
from quarl.emitters.artifact import open_artifact
from quarl.errors import DeviceError, InputError
from quarl.runtimes import apart
from quarl.runtimes.apart import RuntimeApart
from quarl.runtimes.host import FILE_FORMAT, RUNTIMES, LitertRuntime, OnnxRuntime, open_runtime
from quarl.tools import Blocks, own_module
from tests.support.random_policies import random_policy
from tests.support.tflite_models import edited

POLICY = random_policy("wide head", np.random.default_rng(0))
INPUTS = np.random.default_rng(1).integers(-128, 128, (600, 24), dtype=np.int8)


def model(name: str) -> bytes:
    return EMITTERS[FILE_FORMAT[name]](POLICY)


@pytest.mark.long
@pytest.mark.parametrize("name", list(RUNTIMES))
@pytest.mark.parametrize("count", [0, 1, 33, 600])
def test_the_answers_are_those_of_the_runtime(name: str, count: int) -> None:
    there, here = RuntimeApart(name, model(name)), open_runtime(name, model(name))
    expected, found = here.run(INPUTS[:count]), there.run(INPUTS[:count])
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert (found == expected).all()


@pytest.mark.parametrize(("name", "own"), [("litert", LitertRuntime), ("onnxruntime", OnnxRuntime)])
def test_what_quarl_wrote_runs_here_and_anything_else_apart(name: str, own: type) -> None:
    assert isinstance(open_artifact(POLICY, name, model(name)), own)
    foreign = model(name) + b"\0" if name == "litert" else model(name) + b"\x32\0"
    there = open_artifact(POLICY, name, foreign)
    assert isinstance(there, RuntimeApart)
    assert (there.run(INPUTS) == open_runtime(name, model(name)).run(INPUTS)).all()


@pytest.mark.parametrize("name", list(RUNTIMES))
@pytest.mark.parametrize("cut", [0, 8, 700])
def test_a_model_that_is_none_is_refused_and_named(name: str, cut: int) -> None:
    with pytest.raises(InputError, match=rf"^model\.{FILE_FORMAT[name]}: .*export it again"):
        open_artifact(POLICY, name, model(name)[:cut])


def test_names_that_are_no_text_are_no_traceback() -> None:
    def rename(graph: Any) -> None:
        graph.inputs = np.array([9_999], np.int32)

    with pytest.raises(InputError, match=r"^model\.tflite: "):
        RuntimeApart("litert", edited(emit_tflite(POLICY), rename)).run(INPUTS[:1])


def test_inputs_that_do_not_fit_are_refused() -> None:
    there = RuntimeApart("litert", model("litert"))
    with pytest.raises(InputError, match=r"model\.tflite: LiteRT cannot run the model on float32"):
        there.run(INPUTS[:2].astype(np.float32))
    assert len(there.run(INPUTS[:2])) == 2  # and the process goes on


def worker(body: str, timeout: float = 20) -> Blocks:
    """Return a process that loads a model by other code than the runtime's."""
    argv = own_module("quarl.runtimes.apart")
    argv[-1] = argv[-1].replace(
        "from quarl.runtimes.apart import main;",
        "import os, quarl.runtimes.apart as apart; from quarl.runtimes.apart import main;"
        f"apart.open_runtime = lambda name, model: {body};",
    )
    return Blocks(argv, timeout=timeout)


@pytest.mark.long
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
        ("os._exit(0)", "exit code 0"),
        ("__import__('sys').exit(0)", "exit code 0"),
        ("any(iter(int, 1))", "no answer within 3 s"),
    ],
)
def test_a_process_that_ends_or_hangs_is_named(
    monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    timeout = 3 if "iter" in body else 20
    monkeypatch.setattr(apart, "Blocks", lambda argv, **_: worker(body, timeout))
    with pytest.raises(InputError, match=said):
        RuntimeApart("litert", model("litert"))


@pytest.mark.parametrize(
    "body", ["bytearray(2_000_000_000)", "[][1]", "'\\udc80'.encode()", "print('{}') or 1 / 0"]
)
def test_whatever_is_raised_is_one_error_and_prints_are_no_answers(
    monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(apart, "Blocks", lambda argv, **_: worker(body))
    with pytest.raises(InputError, match=r"^model\.tflite: (MemoryError|IndexError|Unicode|Zero)"):
        RuntimeApart("litert", model("litert"))


def test_the_process_ends_with_the_value() -> None:
    blocks = worker("None")
    assert blocks.ask(b"litert\0") == b"+"
    pid = blocks._process.pid
    del blocks
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_process_that_is_gone_is_said() -> None:
    blocks = Blocks(["false"], timeout=20)
    with pytest.raises(DeviceError, match="exit code 1"):
        blocks.ask(b"x" * 1_000_000)
