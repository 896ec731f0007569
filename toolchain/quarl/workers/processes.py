"""Processes of this machine: each does one call after the other, with one thread.

In: functions of this package and their arguments. Out: what they returned. A process that dies is
named and started again, and its call is made once more.
Parent and child are the same installation, started by the same user: what they send each other over
their pipe is pickled.
"""

from __future__ import annotations

import pickle
import signal
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from quarl import tools
from quarl.errors import DeviceError
from quarl.workers.processors import ONE

T = TypeVar("T")
MOST_TRIES = 2  # of a call whose process died
END_S = 2.0  # a child that is told to end has so long


class Processes:
    """Processes that start with the first calls and live until `close`."""

    def __init__(
        self,
        count: int,
        patience_s: float = 0.0,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.count = count
        self.patience_s = patience_s
        self._tell = tell
        self._idle: list[_Child] = []
        self._started = 0

    def waited(self, seconds: float) -> None:
        """Take in that work was tried in this process for so long."""
        self.patience_s = max(0.0, self.patience_s - seconds)

    def run(
        self, function: Callable[..., T], calls: Sequence[tuple[Any, ...]]
    ) -> Generator[T, None, None]:
        """Yield as they come in; what a call raises is raised here, and ends the others, as does
        closing the generator.

        Raises:
            DeviceError: a process died, and so did the one that made its call again.
        """
        waiting = deque((place, pickle.dumps((function, call))) for place, call in enumerate(calls))
        tries: Counter[int] = Counter()
        busy: dict[_Child, tuple[int, bytes]] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < self.count:
                    child = self._idle.pop() if self._idle else self._start()
                    busy[child] = waiting.popleft()
                    tries[busy[child][0]] += 1
                    child.send(busy[child][1])
                for child in _ready(busy):
                    work = busy.pop(child)
                    answer = child.answer()
                    if answer is None:
                        self._mourn(child, tries[work[0]])
                        waiting.appendleft(work)
                        continue
                    self._idle.append(child)
                    yield _returned(*answer)
        finally:
            for child in busy:
                child.kill()

    def close(self) -> None:
        """End the processes."""
        while self._idle:
            self._idle.pop().close()

    def _start(self) -> _Child:
        self._started += 1
        return _Child(self._started)

    def _mourn(self, child: _Child, tries: int) -> None:
        how = child.bury()
        if tries >= MOST_TRIES:
            raise DeviceError(
                f"{child.name} {how}, as did the one that had the same work before it: it may be "
                "out of memory (use fewer workers), or the environment ends its process "
                "(--workers 1 shows its last words)"
            )
        self._tell(f"{child.name} {how}: its work is done again")


@contextmanager
def beside(function: Callable[..., T], *call: Any) -> Iterator[Callable[[], T]]:
    """Start function(*call) in a process of its own; give what waits for it and returns its result.

    The block may end before it has: the process ends with it. What the call raises, the wait
    raises.

    Raises:
        DeviceError: on waiting: the process died.
    """
    child = _Child(1)
    child.send(pickle.dumps((function, call)))

    def result() -> T:
        answer = child.answer()
        if answer is None:
            raise DeviceError(f"{child.name} {child.bury()}")
        returned: T = _returned(*answer)
        return returned

    try:
        yield result
    finally:
        child.kill()


class _Child:
    """One process, and this end of its pipe."""

    def __init__(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        argv = tools.own_module("quarl.workers.child")
        with theirs:
            self._process = tools.start([*argv, str(theirs.fileno())], [theirs.fileno()], ONE)
        self.pipe = Connection(ours.detach())
        self.send(pickle.dumps(sys.path))
        self.name = f"worker {number} (process {self._process.pid})"

    def send(self, message: bytes) -> None:
        try:
            self.pipe.send_bytes(message)
        except OSError:  # it has died: no answer will come
            return

    def answer(self) -> tuple[str, Any] | None:
        """Return what has come; None where the process has died."""
        try:
            kind, value = pickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            return None
        return kind, value

    def close(self) -> None:
        """Let it end."""
        self.pipe.close()
        deadline = time.monotonic() + END_S
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        self.pipe.close()
        self._process.kill()
        self._process.wait()

    def bury(self) -> str:
        """Return how it ended, which it has or is about to."""
        with suppress(tools.StillRunning):
            self._process.wait(0.2)
        self.kill()
        code = self._process.wait()
        return (
            f"ended with exit code {code}"
            if code >= 0
            else f"was ended by {signal.Signals(-code).name}"
        )


def _ready(busy: dict[_Child, tuple[int, bytes]]) -> list[_Child]:
    by_pipe = {child.pipe: child for child in busy}
    return [by_pipe[pipe] for pipe in wait(list(by_pipe)) if isinstance(pipe, Connection)]


def _returned(kind: str, value: Any) -> Any:
    if kind == "raised":
        raise value
    return value
