"""`quarl actorq-page`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.progress import say
from quarl.cli.result import print_result
from quarl.errors import InputError


def actorq_page(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of quarl actorq that have ended."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The page to write: .html, or .md with its figures beside it.",
        ),
    ],
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            "--threshold",
            metavar="[NAME=]RETURN",
            help="Return stated before, whose time is compared; of one recipe, or of all.",
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Measure the cost of a step by width here, for a minute."),
    ] = False,
) -> None:
    """Write the page of runs: where the time goes, and what int8 actors gain."""
    from quarl.actorq.markdown_page import write_markdown
    from quarl.actorq.page import write_page
    from quarl.actorq.record import read_record
    from quarl.actorq.tables import Measured

    thresholds = dict(_threshold(text) for text in threshold or ())

    records = [read_record(run) for run in runs]
    measured: list[Measured] = []
    if measure:
        from quarl.actorq.folder import machine_name
        from quarl.actorq.measured import measured_in

        say("measuring the cost of a step by width ...")
        measured = [Measured(name, costs, machine_name()) for name, costs in measured_in(records)]
    write = write_markdown if out.suffix == ".md" else write_page
    write(records, thresholds, measured, out)
    print_result(str(out), False)


def _threshold(text: str) -> tuple[str, float]:
    """Return name and return of one --threshold.

    Raises:
        InputError: the return is not a number.
    """
    name, _, value = text.rpartition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise InputError(f"--threshold {text}: {value} is not a number: write NAME=400") from error
