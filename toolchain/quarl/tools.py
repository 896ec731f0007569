"""Starts processes: the only module that does. Never through a shell.

`run` waits for one to end; `Conversation` keeps one that answers line by line, as the profile's
workers do; `Blocks` keeps one that answers with bytes; `in_child` calls a function of quarl in a
process of its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from quarl.errors import DeviceError, ToolMissingError

MOST_BLOCK_BYTES = 2 << 30  # the largest model that is read, and what belongs to it
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    input: bytes | None = None,  # noqa: A002, as subprocess.run calls it
    timeout: float,
    env: Mapping[str, str] | None = None,
    stdout: IO[bytes] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Return the ended process with its exit code and both outputs; a non-zero code is the caller's
    to judge.

    Args:
        timeout: seconds after which the process is killed.
        env: variables added to this process's own.
        stdout: the file its output goes to; None: into the returned value.
    Raises:
        ToolMissingError: there is no such program.
        DeviceError: it did not end in time.
    """
    try:
        return subprocess.run(
            list(argv),
            input=input,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            timeout=timeout,
            env={**os.environ, **(env or {})},
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolMissingError(
            f"{argv[0]}: no such program; quarl doctor says how to get it"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"{Path(argv[0]).name} did not end within {timeout:g} s") from error


StillRunning = subprocess.TimeoutExpired
"""What `wait` of a process raises that has not ended in time."""


def start(
    argv: Sequence[str], fds: Sequence[int], env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Return a process that runs beside this one, with the open files `fds` and without input.

    Args:
        env: variables added to this process's own.
    """
    return subprocess.Popen(
        list(argv), stdin=subprocess.DEVNULL, pass_fds=fds, env={**os.environ, **env}
    )


def own_module(name: str) -> list[str]:
    """Return the argv that runs `main()` of one of quarl's modules in a fresh Python of the same
    installation.
    """
    root = str(Path(__file__).parents[1])
    return [
        sys.executable,
        "-P",
        "-c",
        f"import sys; sys.path.append({root!r}); from {name} import main; main()",
    ]


def limit_this_process(*, cpu_s: int | None = None, memory_bytes: int) -> None:
    """Bound what this process may use, as far as the system can and the user's own limits allow.

    Called by a worker before it opens a stranger's file; afterwards Python raises `MemoryError`,
    and the kernel ends a process that is out of time.
    """
    try:
        import resource
    except ImportError:  # Windows; the parent's timeout remains
        return
    limits = [(resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0)]
    if cpu_s is not None:
        limits.append((resource.RLIMIT_CPU, cpu_s))
    for kind, wanted in limits:
        hard = resource.getrlimit(kind)[1]
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (allowed, allowed))


class Conversation:
    """A process that reads one JSON object per line and answers each with one. Use it in a `with`
    block; it ends there.
    """

    def __init__(
        self, argv: Sequence[str], *, timeout: float, env: Mapping[str, str] | None = None
    ) -> None:
        self._timeout = timeout
        try:
            self._process = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **(env or {})},
            )
        except FileNotFoundError as error:
            raise ToolMissingError(
                f"{argv[0]}: no such program; quarl doctor says how to get it"
            ) from error

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to one request.

        Raises:
            DeviceError: the process ended, took too long, or answers that it failed; carries its
                own words.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watchdog = threading.Timer(self._timeout, self._process.kill)
        watchdog.daemon = True  # whoever is stopped while it starts does not wait for it to end
        try:
            watchdog.start()
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            watchdog.cancel()
        if not line:
            self._process.kill()
            _, words = self._process.communicate()
            last = words.decode(errors="replace").strip().splitlines()[-1:]
            raise DeviceError(
                f"a worker process ended without an answer (within {self._timeout:g} s): "
                f"{' '.join(last) or 'no message'}"
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise DeviceError(answer["error"])
        return answer

    def __enter__(self) -> Conversation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


class Blocks:
    """A process that answers each block of bytes with one. It ends when nobody holds this any more.

    A block on the wire is its length in 8 bytes, little-endian, and its bytes. What the process
    prints on standard error is dropped.
    """

    def __init__(
        self, argv: Sequence[str], *, timeout: float, env: Mapping[str, str] | None = None
    ) -> None:
        self._timeout = timeout
        self._process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            bufsize=0,
        )
        self._end = weakref.finalize(self, _end_process, self._process)

    def ask(self, block: bytes) -> bytes:
        """Return the answer to one block.

        Raises:
            DeviceError: the process ended or took too long; it is gone then.
        """
        try:
            write_block(self._fd(self._process.stdin), block)
            return read_block(self._fd(self._process.stdout), self._timeout)
        except ValueError as error:
            self._process.kill()
            raise DeviceError(f"{error} from a process of its own") from error
        except (EOFError, BrokenPipeError, TimeoutError) as error:
            late = isinstance(error, TimeoutError)
            if late:
                self._process.kill()
            code = self._process.wait()
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            how = f"no answer within {self._timeout:g} s" if late else f"it ended {how}"
            raise DeviceError(f"{how} in a process of its own") from error

    @staticmethod
    def _fd(stream: IO[bytes] | None) -> int:
        assert stream is not None
        return stream.fileno()


def _end_process(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def write_block(descriptor: int, block: bytes) -> None:
    """Write one block, as `Blocks` reads them."""
    view = memoryview(len(block).to_bytes(8, "little") + block)
    while view:
        view = view[os.write(descriptor, view) :]


def read_block(
    descriptor: int, timeout: float | None = None, most_bytes: int = MOST_BLOCK_BYTES
) -> bytes:
    """Return one block.

    Raises:
        EOFError: there is none. TimeoutError: nothing came for `timeout` seconds.
        ValueError: it says that it is longer than `most_bytes`.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)

    def read(count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            if not poll.poll(None if timeout is None else timeout * 1e3):
                raise TimeoutError
            chunk = os.read(descriptor, count - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return bytes(data)

    length = int.from_bytes(read(8), "little")
    if length > most_bytes:
        raise ValueError(f"a block of {length:,} bytes, at most {most_bytes:,} are read")
    return read(length)


def in_child(run: Callable[[], int]) -> int:
    """Return the exit code of `run`, which is called in a child process.

    A child that ends in any other way than by returning from `run` is a failure, whatever code it
    ends with: an environment that calls `os._exit(0)`, a runtime that faults. Signals that were
    sent to this process are passed on; if it is killed, the child is killed too.
    """
    if not hasattr(signal, "sigwaitinfo"):
        return run()
    said, says = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON | {signal.SIGCHLD})
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(said)
        end_with(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        code = run()
        os.write(says, bytes([code]))
        return code
    os.close(says)
    status = _wait_for(child)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    answer = os.read(said, 1)
    return answer[0] if answer else _ended_early(os.waitstatus_to_exitcode(status))


def _signals(*names: str) -> set[signal.Signals]:
    """Return the signals of these names that the system has."""
    return {signal.Signals[name] for name in names if name in signal.Signals.__members__}


_PASSED_ON = _signals("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
_LAST_RESORT = _PASSED_ON | _signals("SIGKILL")
_PR_SET_PDEATHSIG = 1
_DEFECT = 70


def end_with(parent: int) -> None:
    """Let the system kill this process as soon as its parent, process `parent`, has ended."""
    system = ctypes.CDLL(None)
    if hasattr(system, "prctl"):  # Linux
        system.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(_DEFECT)


def _wait_for(child: int) -> int:
    """Return how the child ended. A terminal sends its signals to both; another process sends them
    to this one alone.
    """
    while True:
        came = signal.sigwaitinfo(_PASSED_ON | {signal.SIGCHLD})
        if came.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
        elif came.si_code <= 0:  # SI_USER and its like: sent by kill
            os.kill(child, came.si_signo)


def _ended_early(code: int) -> int:
    """Say that the child ended before it was done, and return the exit code for it."""
    if -code in _LAST_RESORT:
        sys.stderr.write(f"quarl: stopped by {signal.Signals(-code).name}\n")
        return 128 - code
    how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
    sys.stderr.write(
        f"quarl: the process ended before quarl was done ({how}): an environment or a runtime "
        "ended it. Nothing was judged\n"
    )
    return _DEFECT
