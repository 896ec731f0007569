"""Progress: a bar on a terminal, nothing in a pipe but the lines that matter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from quarl.files.text import message_text, printable
from quarl.workers.progress import Progress, Reporter

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
    """Give a function to call with (done, all), or None where standard error is no terminal."""
    if _is_quiet or not sys.stderr.isatty():
        say(f"{what} ...")
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(escape(printable(what)), total=None)
        yield lambda done, count: bars.update(task, completed=done, total=count)


TERMINAL = Reporter(say, progress_bar)
"""Lines and bars on standard error."""
