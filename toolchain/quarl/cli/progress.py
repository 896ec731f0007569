"""Progress: a bar on a terminal and a line every ten seconds in a log, both with unit, rate and
time left.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from quarl.files.text import message_text, printable
from quarl.workers.progress import Progress, Reporter

LOG_S = 10.0
_is_quiet = False


def be_quiet(quiet: bool) -> None:
    """Say whether `say` and `progress_bar` write anything from now on."""
    global _is_quiet
    _is_quiet = quiet


def say(line: str) -> None:
    """Write a line for people to standard error, so that standard output holds the result alone."""
    if _is_quiet:
        return
    print(message_text(line), file=sys.stderr, flush=True)


@contextmanager
def progress_bar(what: str) -> Iterator[Progress | None]:
    """Give a function to call with (done, all)."""
    if _is_quiet or not sys.stderr.isatty():
        say(f"{what} ...")
        yield LogLines(what)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    unit = unit_of(what)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit}, {{task.fields[rate]}}"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(escape(printable(what)), total=None, rate="")

        def show(done: int, count: int) -> None:
            speed = bars.tasks[0].speed
            rate = "" if speed is None else f"{speed:,.3g} a second"
            bars.update(task, completed=done, total=count, rate=rate)

        yield show


class LogLines:
    """Says at most every LOG_S seconds how far a stage is. What it is called with may begin anew,
    where a stage has several parts.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._unit, self._clock = what, unit_of(what), clock
        self._said = self._began = clock()
        self._first = self._last = (0, 0)

    def __call__(self, done: int, count: int) -> None:
        """Take in how far the stage is."""
        now = self._clock()
        if count != self._last[1] or done < self._last[0]:  # another part
            self._began, self._first = now, (done, count)
        self._last = (done, count)
        if now - self._said < LOG_S:
            return
        self._said = now
        line = f"{self._what}: {done:,} of {count:,} {self._unit}"
        rate = (done - self._first[0]) / (now - self._began) if now > self._began else 0.0
        if rate > 0:
            left = (count - done) / rate
            line += f", {rate:,.3g} a second, about {left:,.0f} s left"
        say(line)


def unit_of(what: str) -> str:
    """Return what a stage of that title counts."""
    return "bytes" if what.startswith("fetching ") else "episodes"


TERMINAL = Reporter(say, progress_bar)
"""Lines and bars on standard error."""
