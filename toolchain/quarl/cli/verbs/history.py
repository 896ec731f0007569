"""`quarl history`."""

from __future__ import annotations

from typing import Annotated

import typer

from quarl.cli.options import HistoryOption, JsonOption
from quarl.cli.result import print_result


def history(
    policy: Annotated[
        str | None, typer.Option("--policy", metavar="NAME", help="Runs of this policy only.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="The latest runs to show.")
    ] = 20,
    plot: Annotated[
        str | None,
        typer.Option("--plot", metavar="CHECK", help="Draw what a check found, run by run."),
    ] = None,
    diff: Annotated[
        tuple[int, int] | None,
        typer.Option("--diff", metavar="A B", help="Show what changed between two runs."),
    ] = None,
    history: HistoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the runs of the gate, draw a figure over them, or compare two."""
    from quarl.cli import show_history as show
    from quarl.verdict import history as past

    path = history or past.default_path()
    if diff is not None:
        changes = past.compare_runs(path, *diff)
        print_result(
            show.changes_table(changes) if as_json else show.changes_text(changes, *diff), as_json
        )
    elif plot is not None:
        figures = past.figure_over_runs(path, plot, policy, limit)
        print_result(
            show.figures_table(figures) if as_json else show.figures_text(figures), as_json
        )
    else:
        runs = past.list_runs(path, policy, limit)
        print_result(show.runs_table(runs) if as_json else show.runs_text(runs), as_json)
