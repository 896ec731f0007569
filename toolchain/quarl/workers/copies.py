"""Work done in copies of this process: nothing is started, nothing is imported.

In: a function and its calls, none of which need travel. Out: what they returned, which does.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from quarl.tools import end_with

T = TypeVar("T")
_TASKS = Path("/proc/self/task")


def can_be_copied() -> bool:
    """Whether a copy of this process can work: it has one thread, so nobody else can hold a lock
    that the copy would wait for.
    """
    return hasattr(os, "fork") and _TASKS.exists() and len(list(_TASKS.iterdir())) == 1


def side_by_side(function: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> list[T]:
    """Return what function(*call) returned for each call: the first in this process, each other in
    a copy of it at the same time; one after the other where it cannot be copied.

    A call that raises in its copy, or whose copy dies, is made again here, and raises here.
    """
    if not can_be_copied():
        return [function(*call) for call in calls]
    with ExitStack() as copies:
        others = [copies.enter_context(_copied(function, call)) for call in calls[1:]]
        found = [[function(*calls[0])], *(other() for other in others)]
    return [
        answer[0] if answer else function(*call) for answer, call in zip(found, calls, strict=True)
    ]


@contextmanager
def _copied(
    function: Callable[..., T], call: tuple[Any, ...]
) -> Iterator[Callable[[], list[T] | None]]:
    """Start function(*call) in a copy of this process, which ends with the block; give what waits
    for it and returns its result in a list, None where there is none.
    """
    ours, theirs = os.pipe()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        _work(parent, theirs, function, call)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:

        def result() -> list[T] | None:
            try:
                answer: list[T] = pickle.load(pipe)
            except (EOFError, pickle.UnpicklingError):  # it ended before it had said all
                return None
            return answer

        try:
            yield result
        finally:
            os.kill(child, signal.SIGKILL)  # it is there until it is waited for
            os.waitpid(child, 0)


def _work(parent: int, pipe: int, function: Callable[..., Any], call: tuple[Any, ...]) -> None:
    """Make the call in the copy, and end it."""
    try:
        end_with(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when work ends
        os.dup2(2, 1)  # standard output is the parent's alone
        answer = pickle.dumps([function(*call)])
        with os.fdopen(pipe, "wb") as out:
            out.write(answer)
    finally:
        os._exit(0)
