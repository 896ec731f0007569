"""What a verb ends with: a printed result, or a verdict with its files and exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import typer

from quarl.cli.progress import say
from quarl.errors import InputError, QuarlError
from quarl.files.text import terminal_text

if TYPE_CHECKING:
    from quarl.bundle.release import Release
    from quarl.cli.option_groups import VerdictOptions
    from quarl.verdict.verdict import Verdict


class Exit(IntEnum):
    """Exit codes of verdicts; errors bring their own."""

    PASS = 0
    GATE_SAYS_NO = 1
    NOT_PROVEN = 5


def exit_of(verdict: Verdict) -> Exit:
    """Return the exit code of a verdict."""
    from quarl.verdict.verdict import Outcome

    if verdict.may_ship:
        return Exit.PASS
    return Exit.NOT_PROVEN if verdict.answer is Outcome.NOT_PROVEN else Exit.GATE_SAYS_NO


_kept: TextIO | None = None


@contextmanager
def keep_standard_output() -> Iterator[None]:
    """Keep standard output for results: whatever else is printed meanwhile, by an environment or a
    library, goes to standard error, also what C prints. A test that has put its own stream there
    keeps that.
    """
    global _kept
    kept = sys.__stdout__
    if kept is None or sys.stdout is not kept:
        yield
        return
    kept.flush()
    printed = os.dup(1)
    own = open(printed, "w", encoding=kept.encoding, errors=kept.errors)  # noqa: SIM115, PTH123
    os.dup2(2, 1)
    _kept, sys.stdout = own, sys.stderr
    try:
        yield
    finally:
        _kept, sys.stdout = None, kept
        with suppress(OSError):  # what was written was flushed, or its failure was told
            own.close()


def put(text: str) -> None:
    """Write a result to standard output, without orders to the terminal or to a CI service."""
    _written(lambda: print(terminal_text(text), file=_kept or sys.stdout, flush=True))


def _written(write: Callable[[], None]) -> None:
    """Write to standard output.

    Raises:
        InputError: it cannot be written.
    """
    try:
        write()
    except BrokenPipeError:
        pass  # the reader has what it wanted; the exit code still tells the answer
    except OSError as error:
        raise InputError(
            f"standard output cannot be written ({error.strerror}): free space, or send it "
            "elsewhere"
        ) from error


def conclude(
    verdict: Verdict, release: Release, destinations: VerdictOptions, as_json: bool
) -> NoReturn:
    """Write the verdict where it was asked for, print it, and exit with its code."""
    from quarl.files.atomic import write_whole
    from quarl.verdict.formats import OUTPUTS
    from quarl.verdict.formats.annotations import annotation_lines
    from quarl.verdict.formats.markdown import append_summary

    for kind in ("junit", "markdown", "sarif"):
        path: Path | None = getattr(destinations, kind)
        if path is not None:
            write_whole(path, OUTPUTS[kind](verdict).encode())
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        append_summary(verdict, Path(summary))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print(annotation_lines(verdict), file=sys.stderr, flush=True)
    if destinations.track is not None or not destinations.no_history:
        _remember(verdict, release, destinations)
    if as_json:
        print_result(json.loads(OUTPUTS["json"](verdict)), as_json)
    else:
        _print_verdict(verdict, verbose=destinations.verbose)
    raise typer.Exit(exit_of(verdict))


def _print_verdict(verdict: Verdict, *, verbose: bool) -> None:
    """Print a verdict: in colour and as wide as the window on a terminal, as text elsewhere."""
    from quarl.cli.show_verdict import verdict_text

    stream = _kept or sys.stdout
    if stream is None or not stream.isatty():
        put(verdict_text(verdict, verbose=verbose))
        return
    from rich.console import Console

    from quarl.cli.terminal_verdict import print_verdict

    console = Console(file=stream, highlight=False)
    _written(lambda: print_verdict(verdict, console, verbose=verbose))


def _remember(verdict: Verdict, release: Release, destinations: VerdictOptions) -> None:
    """Add the run to the history and to the tracker; what cannot take it is reported and changes
    no verdict.
    """
    from quarl.cli.occasion import occasion_of
    from quarl.verdict.history import default_path, record
    from quarl.verdict.tracking import track

    occasion = occasion_of(release)
    if not destinations.no_history:
        try:
            record(destinations.history or default_path(), verdict, occasion)
        except InputError as error:
            say(f"quarl: this run is not in the history: {error}")
    if destinations.track is not None:
        try:
            track(destinations.track, verdict, occasion)
        except QuarlError as error:
            say(f"quarl: this run was not tracked: {error}")


def print_result(result: Any, as_json: bool) -> None:
    """Print the result: one JSON document, or the text it is."""
    put(json.dumps(result, indent=2, sort_keys=True) if as_json else str(result))
