"""How work says how far it is: a function to call as it goes on, and stages with a title that give
one.

Goes in: nothing but what the caller passes. Comes out: calls. Nothing here prints; a command line
may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (done, in all) whenever there is more done: episodes, or bytes."""

Stage: TypeAlias = Callable[[str], AbstractContextManager[Progress | None]]
"""Called with what is being done, for people; gives a `Progress` for as long as it lasts, or None
where nobody looks.
"""


@contextmanager
def quietly(what: str) -> Iterator[Progress | None]:
    """Do it without telling anybody: a `Stage`."""
    yield None


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who is told what goes on: lines as they come, and stages with their progress."""

    line: Callable[[str], None] = lambda text: None
    stage: Stage = quietly


QUIET = Reporter()


def part_of(progress: Progress | None, start: int, total: int) -> Progress | None:
    """Return the progress of one run that is a part of the whole; `start` were done before it."""
    if progress is None:
        return None
    return lambda done, count: progress(start + done, total)
