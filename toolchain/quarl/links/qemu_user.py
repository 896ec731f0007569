"""The emulated Pi: the agent and programs under qemu-user, with the core of a board and the
packages of a Pi.

In: as `links.pi`. Out: the Pi's own outputs, and marks with exact instruction counts from our
plugin. Times taken here mean nothing, and nobody may show them: an emulated core is slower by a
factor that differs from kernel to kernel.
"""

from __future__ import annotations

import json
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
    Mark,
    ProgramAnswer,
    agent_source,
    last_words,
    read_answer,
    wheels_for,
)
from quarl.links.plugin import plugin_library
from quarl.pi.root import EMULATOR, EmulatedRoot

PLUGIN_SOURCE = "emulator/ql_region_counter.c"


class EmulatedPi:
    """A core of a Pi in qemu-user."""

    link: Literal["local", "emulated", "ssh"] = "emulated"
    kind: Literal["measured", "emulated"] = "emulated"
    remedy = "quarl doctor --install pi-emulator"
    is_timed = False

    def __init__(self, core: str, root: EmulatedRoot, cache_dir: Path) -> None:
        self.name = f"emulated {core}"
        self._core = core
        self._root, self._cache_dir = root, cache_dir
        self._folder = tempfile.TemporaryDirectory(prefix="quarl-pi-")

    def push(self, files: Mapping[str, bytes]) -> None:
        """Write the agent and the files into a temporary folder."""
        for name, data in {**files, AGENT: agent_source()}.items():
            (Path(self._folder.name) / name).write_bytes(data)

    def ask(self, request: Mapping[str, Any]) -> Answer:
        """Return the agent's answer, with marks where the request sets some; errors as
        `read_answer`.
        """
        text = json.dumps({**request, "site": str(self._root.site(wheels_for(request)))}).encode()
        argv = self._root.python_argv(self._core, Path(self._folder.name) / AGENT)
        done, marks = self._run(argv, text, counted=bool(request.get("marked")))
        return Answer(read_answer(done, self.name), marks)

    def run_program(self, data: bytes, arguments: Sequence[str], stdin: bytes) -> ProgramAnswer:
        """Return what an aarch64 program answers, with the marks it sets."""
        path = Path(self._folder.name) / "program"
        path.write_bytes(data)
        path.chmod(0o700)
        done, marks = self._run(
            self._root.program_argv(self._core, path, arguments), stdin, counted=True
        )
        if done.returncode:
            raise DeviceError(
                f"{self.name}: the program ended with code {done.returncode}: "
                f"{last_words(done.stderr)}"
            )
        return ProgramAnswer(done.stdout, done.stderr, marks)

    def _run(
        self, argv: Sequence[str], stdin: bytes, *, counted: bool
    ) -> tuple[Any, tuple[Mark, ...]]:
        if not counted:
            return tools.run(argv, input=stdin, timeout=AGENT_TIMEOUT_S, env=tools.ONE_THREAD), ()
        out = Path(self._folder.name) / "marks.txt"
        plugin = ["-plugin", f"{plugin_library(PLUGIN_SOURCE, self._cache_dir)},out={out}"]
        assert argv[0] == EMULATOR
        done = tools.run(
            [argv[0], *plugin, *argv[1:]],
            input=stdin,
            timeout=AGENT_TIMEOUT_S,
            env=tools.ONE_THREAD,
        )
        lines = out.read_text().splitlines() if out.is_file() else []
        return done, tuple(
            (int(code), int(count)) for code, count in (line.split() for line in lines)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()
