"""What every link to a Raspberry Pi can do, and how an answer is read; the links are `local`,
`qemu_user` and `ssh`.

In: files to push, a request for the agent, or a program with its input. Out: what came back, or a
DeviceError that says what to do.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from quarl.errors import DeviceError, ToolMissingError
from quarl.pi import agent
from quarl.pi.wheels import WheelSet

AGENT = "agent.py"
AGENT_TIMEOUT_S = 900.0  # one request; an emulated convolution takes a second or so a dozen
KILLED = 128 + 9
Mark = tuple[int, int]
"""A mark's code, and the instructions executed before it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the agent answered."""

    fields: Mapping[str, Any]
    marks: tuple[Mark, ...] = ()  # set under emulation only


@dataclass(frozen=True, slots=True)
class ProgramAnswer:
    """What a program without Python answered."""

    stdout: bytes
    stderr: bytes
    marks: tuple[Mark, ...] = ()


def wheels_for(request: Mapping[str, Any]) -> WheelSet:
    """Return which packages a request needs: tflite-runtime cannot use the others' NumPy."""
    return "tflite-runtime" if request.get("runtime") == "tflite_runtime" else "litert"


class PiLink(Protocol):
    """A way to a Pi. Use it in a `with` block: what was pushed is gone when it ends."""

    name: str  # for people
    link: Literal["local", "emulated", "ssh"]
    kind: Literal["measured", "emulated"]  # what its figures are
    remedy: str  # what brings a missing runtime there
    is_timed: bool  # whether times taken there mean anything

    def push(self, files: Mapping[str, bytes]) -> None:
        """Bring the agent and files to the Pi, all of them whole or none."""
        ...

    def ask(self, request: Mapping[str, Any]) -> Answer:
        """Return the agent's answer to one request, in a process of its own."""
        ...

    def run_program(self, data: bytes, arguments: Sequence[str], stdin: bytes) -> ProgramAnswer:
        """Return what an aarch64 program answers."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def agent_source() -> bytes:
    """Return the agent's file."""
    return Path(agent.__file__).read_bytes()


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def read_answer(done: subprocess.CompletedProcess[bytes], where: str) -> dict[str, Any]:
    """Return the agent's answer.

    Raises:
        ToolMissingError: the Pi lacks a runtime, or Python.
        DeviceError: the agent was killed, failed, or answered something else.
    """
    words = last_words(done.stderr)
    if done.returncode in (KILLED, -9):
        raise DeviceError(
            f"{where}: the agent was killed (signal 9), most often for lack of memory: close "
            "other programs and try again"
        )
    if done.returncode == 127:
        raise ToolMissingError(f"{where}: has no python3: apt-get install python3 there ({words})")
    try:
        answer = json.loads(done.stdout)
        found = answer.pop("format")
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise DeviceError(
            f"{where}: the agent ended with code {done.returncode} and no answer: {words}"
        ) from error
    if found != agent.FORMAT:
        raise DeviceError(
            f"{where}: the agent speaks format {found}, this quarl format {agent.FORMAT}"
        )
    if "error" in answer:
        if answer["kind"] == "missing":
            raise ToolMissingError(
                f"{where}: {answer['error']}: quarl provision brings the runtimes to a Pi"
            )
        raise DeviceError(f"{where}: {answer['error']}")
    return dict(answer)


def last_words(stderr: bytes) -> str:
    """Return the last line of what a process complained."""
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no message"
