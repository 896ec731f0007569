"""`quarl history`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from quarl.cli.command import takes
from quarl.cli.options import HistoryOption, JsonOption
from quarl.cli.result import print_result


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """What `quarl history` was asked for."""

    policy: Annotated[
        str | None, typer.Option("--policy", metavar="NAME", help="Runs of this policy only.")
    ] = None
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="The latest runs to show.")
    ] = 20
    plot: Annotated[
        str | None,
        typer.Option("--plot", metavar="CHECK", help="Draw what a check found, run by run."),
    ] = None
    diff: Annotated[
        tuple[int, int] | None,
        typer.Option("--diff", metavar="A B", help="Show what changed between two runs."),
    ] = None
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write every check of the runs as CSV."),
    ] = None
    svg: Annotated[
        Path | None,
        typer.Option(
            "--svg", metavar="FILE", help="Draw the check of --plot as curves; extra plot."
        ),
    ] = None
    history: HistoryOption = None
    as_json: JsonOption = False


@takes(HistoryOptions)
def history(asked: HistoryOptions) -> None:
    """List the runs of the gate, draw a figure over them, or compare two."""
    from quarl.cli import show_history as show
    from quarl.errors import InputError
    from quarl.files.atomic import write_whole
    from quarl.verdict import history as past
    from quarl.verdict.history_outputs import curves_svg, history_csv

    path = asked.history or past.default_path()
    policy, limit, plot, csv, svg = asked.policy, asked.limit, asked.plot, asked.csv, asked.svg
    if svg is not None and plot is None:
        raise InputError(f"--svg {svg}: name what to draw with --plot CHECK")
    if csv is not None:
        write_whole(csv, history_csv(past.all_answers(path, policy, limit)).encode())
    if svg is not None and plot is not None:
        drawn = curves_svg(past.figure_over_runs(path, plot, policy, limit))
        write_whole(svg, drawn.encode())
    if asked.diff is not None:
        changes = past.compare_runs(path, *asked.diff)
        print_result(
            show.changes_table(changes)
            if asked.as_json
            else show.changes_text(changes, *asked.diff),
            asked.as_json,
        )
    elif plot is not None:
        figures = past.figure_over_runs(path, plot, policy, limit)
        print_result(
            show.figures_table(figures) if asked.as_json else show.figures_text(figures),
            asked.as_json,
        )
    else:
        runs = past.list_runs(path, policy, limit)
        print_result(
            show.runs_table(runs) if asked.as_json else show.runs_text(runs), asked.as_json
        )
