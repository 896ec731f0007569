"""Processes of quarl's own modules, forked from one that has imported them already: of hundreds of
thousands of inputs, each that needs a process then takes milliseconds and not half a second.

In: a command line of `quarl.tools.own_module`. Out: a process that runs the module's `main()` with
the same pipes and the same limits. One in `STARTED_SHARE` is started as users start it.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quarl.tools import ONE_THREAD, own_module
from quarl.workers import copies

STARTED_SHARE = 100
_MODULE = re.compile(r"from (quarl\.[a-z0-9_.]+) import main; main\(\)$")
_ANSWER = struct.Struct("<qq")


class Nursery:
    """A process that has imported a module, and forks one that runs it whenever it is asked."""

    def __init__(self, module: str) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        argv = own_module("quarl.tools")
        argv[-1] = (
            f"{argv[-1].rpartition('from ')[0]}sys.path.append({str(Path.cwd())!r}); "
            f"from tests.fuzz.warm import serve; serve({module!r}, {theirs.fileno()})"
        )
        with theirs:
            self._process = _Started(
                argv, pass_fds=(theirs.fileno(),), env={**os.environ, **ONE_THREAD}
            )

    def fork(self, descriptors: Sequence[int]) -> int:
        """Return the id of a process with these as its standard input, output and error."""
        socket.send_fds(self._socket, [b"fork".ljust(12)], list(descriptors))
        return self._answer()[0]

    def wait(self, process: int, flags: int) -> tuple[int, int]:
        """Return what `os.waitpid` says of one of its processes."""
        self._socket.sendall(b"wait" + struct.pack("<ii", process, flags))
        return self._answer()

    def end(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait()

    def _answer(self) -> tuple[int, int]:
        answer = self._socket.recv(_ANSWER.size, socket.MSG_WAITALL)
        first, second = _ANSWER.unpack(answer)
        return int(first), int(second)


def serve(module: str, descriptor: int) -> None:
    """Be the process of a `Nursery`."""
    main = importlib.import_module(module).main
    if module == "quarl.runtimes.apart":
        from quarl.runtimes.host import preload

        for runtime in ("litert", "onnxruntime"):
            preload(runtime)
    with socket.socket(fileno=descriptor) as asking:
        while True:
            request, descriptors, _, _ = socket.recv_fds(asking, 12, 3)
            if not request:
                return
            if request.startswith(b"fork"):
                process = os.fork()
                if process == 0:
                    asking.close()
                    _become(main, descriptors)
                for one in descriptors:
                    os.close(one)
                asking.sendall(_ANSWER.pack(process, 0))
            else:
                asking.sendall(_ANSWER.pack(*os.waitpid(*struct.unpack("<ii", request[4:]))))


def _become(main: Any, descriptors: Sequence[int]) -> None:
    """Run the module with these pipes, and end as an interpreter would."""
    code = 1
    try:
        for standard, given in enumerate(descriptors):
            os.dup2(given, standard)
            os.close(given)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


_Started = subprocess.Popen
_nurseries: dict[str, Nursery] = {}
_count = [0]


class _Forked(subprocess.Popen):  # type: ignore[type-arg]
    """A process of a nursery, which `subprocess` takes for one of its own."""

    _nursery: Nursery | None = None

    def _execute_child(self, *arguments: Any) -> None:
        argv = arguments[0]
        found = None if isinstance(argv, str) else _MODULE.search(str(argv[-1]))
        _count[0] += 1
        if found is None or _count[0] % STARTED_SHARE == 0:
            super()._execute_child(*arguments)  # type: ignore[misc]
            return
        pipes = arguments[10:16]  # as subprocess gives them: read and write end of each
        if found[1] not in _nurseries:
            _nurseries[found[1]] = Nursery(found[1])
        self._nursery = _nurseries[found[1]]
        with Path(os.devnull).open("r+b", buffering=0) as nowhere:
            theirs = (pipes[0], pipes[3], pipes[5])
            given = [end if end >= 0 else nowhere.fileno() for end in theirs]
            self.pid = self._nursery.fork(given)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _internal_poll(self, *arguments: Any, **more: Any) -> int | None:
        if self._nursery is None:
            code: int | None = super()._internal_poll(*arguments, **more)  # type: ignore[misc]
            return code
        if self.returncode is None:
            ended, status = self._nursery.wait(self.pid, os.WNOHANG)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._nursery is None:
            answer: tuple[int, int] = super()._try_wait(wait_flags)  # type: ignore[misc]
            return answer
        return self._nursery.wait(self.pid, wait_flags)


@contextmanager
def warm_processes() -> Iterator[None]:
    """Fork processes of quarl's own modules while the block runs. Nothing is done in a copy of this
    process meanwhile: both would speak to the same nursery.
    """
    subprocess.Popen = _Forked  # type: ignore[misc]
    can_be_copied, copies.can_be_copied = copies.can_be_copied, lambda: False
    try:
        yield
    finally:
        copies.can_be_copied = can_be_copied
        subprocess.Popen = _Started  # type: ignore[misc]
        while _nurseries:
            _nurseries.popitem()[1].end()
