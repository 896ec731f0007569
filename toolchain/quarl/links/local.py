"""The machine quarl itself runs on, as a Pi: for a quarl that is installed on one."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from quarl import tools
from quarl.errors import DeviceError
from quarl.links.pi import (
    AGENT,
    AGENT_TIMEOUT_S,
    Answer,
    ProgramAnswer,
    agent_source,
    last_words,
    read_answer,
)


class LocalPi:
    """The agent as a process of this machine, with this Python's packages."""

    name = "this machine"
    link: Literal["local", "emulated", "ssh"] = "local"
    kind: Literal["measured", "emulated"] = "measured"
    remedy = "pip install quarl"
    is_timed = True

    def __init__(self, site: str | None = None) -> None:
        self._site = site
        self._folder = tempfile.TemporaryDirectory(prefix="quarl-pi-")

    def push(self, files: Mapping[str, bytes]) -> None:
        """Write the agent and the files into a temporary folder."""
        for name, data in {**files, AGENT: agent_source()}.items():
            (Path(self._folder.name) / name).write_bytes(data)

    def ask(self, request: Mapping[str, Any]) -> Answer:
        """Return the agent's answer; errors as `read_answer`."""
        argv = [sys.executable, "-P", str(Path(self._folder.name) / AGENT)]
        text = json.dumps({**request, "site": self._site}).encode()
        return Answer(
            read_answer(
                tools.run(argv, input=text, timeout=AGENT_TIMEOUT_S, env=tools.ONE_THREAD),
                self.name,
            )
        )

    def run_program(self, data: bytes, arguments: Sequence[str], stdin: bytes) -> ProgramAnswer:
        """Return what a program for this machine answers."""
        path = Path(self._folder.name) / "program"
        path.write_bytes(data)
        path.chmod(0o700)
        done = tools.run([path, *arguments], input=stdin, timeout=AGENT_TIMEOUT_S)
        if done.returncode:
            raise DeviceError(
                f"{self.name}: the program ended with code {done.returncode}: "
                f"{last_words(done.stderr)}"
            )
        return ProgramAnswer(done.stdout, done.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()
