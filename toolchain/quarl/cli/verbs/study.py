"""`quarl study`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quarl.cli.options import JsonOption
from quarl.cli.progress import say
from quarl.cli.result import print_result

if TYPE_CHECKING:
    from quarl.study.run_study import Standing


def study(
    plan: Annotated[
        Path, typer.Argument(metavar="STUDY.toml", help="Policies, methods and widths.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FOLDER", help="Results and page; what is there is kept."),
    ],
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, metavar="N", help="Processes; default: one a processor."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help='A Ray cluster, or "local", computes.'),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how many bits which policy needs, over a grid that resumes where it was."""
    from dataclasses import asdict

    from quarl.study.page import write_page
    from quarl.study.plan import read_study
    from quarl.study.run_study import PAGE, RESULTS, run_study, sources_of
    from quarl.workers import open_workers

    grid = read_study(plan)
    with open_workers(workers, ray) as pool:
        results = run_study(
            grid, plan.parent, out, pool, lambda standing: say(standing_line(standing))
        )
    write_page(grid, results, sources_of(grid, plan.parent, out), out / PAGE)
    holes = sum(bool(result.problem) for result in results)
    text = f"{out / RESULTS}: {len(results)} cells, {holes} without numbers; {out / PAGE}"
    print_result([asdict(result) for result in results] if as_json else text, as_json)


def standing_line(standing: Standing) -> str:
    """Return where a study stands."""
    result = standing.latest
    if result is None:
        return f"{standing.done} of {standing.cells} cells were computed before"
    where = (
        f"{result.policy} {result.method} weights {result.weights}, activations "
        f"{result.activations}, inputs {result.inputs}"
    )
    found = result.problem or (
        f"agreement {result.agreement:.1%}, return {result.mean_return:.5g} of "
        f"{result.source_return:.5g}"
    )
    return f"{standing.done} of {standing.cells}: {where}: {found} ({result.seconds:.0f} s)"
