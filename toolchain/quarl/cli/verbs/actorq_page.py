"""`quarl actorq-page`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.progress import say
from quarl.cli.result import print_result


def actorq_page(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of quarl actorq that have ended."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html", help="The page to write.")],
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Return stated before, whose time is compared."),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Measure the cost of a step by width here, for a minute."),
    ] = False,
) -> None:
    """Write the page of runs: where the time goes, and what int8 actors gain."""
    from quarl.actorq.page import Measured, write_page
    from quarl.actorq.record import read_record

    records = [read_record(run) for run in runs]
    measured: list[Measured] = []
    if measure:
        from quarl.actorq.measured import measured_in

        say("measuring the cost of a step by width ...")
        measured = [Measured(name, costs) for name, costs in measured_in(records)]
    write_page(records, threshold, measured, out)
    print_result(str(out), False)
