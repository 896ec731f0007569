"""The page of a study: one HTML file that loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from quarl.errors import QuarlError
from quarl.files.atomic import write_whole
from quarl.files.svg_figure import require_matplotlib
from quarl.graph.policy import Policy, Weighted
from quarl.importers import ImportOptions
from quarl.resources import VERSION
from quarl.sources.source import open_source
from quarl.study import figures, summary
from quarl.study.plan import Study
from quarl.study.result import Result

TEMPLATES = Path(__file__).parent / "templates"
MOST_HISTOGRAMS = 24


def write_page(study: Study, results: Sequence[Result], sources: Sequence[str], out: Path) -> None:
    """Write the page.

    Args:
        sources: of the policies, for the histograms of their weights.
    Raises:
        ToolMissingError: matplotlib is not installed.
    """
    from jinja2 import Environment, FileSystemLoader

    whole = [r for r in results if not r.problem]
    tables = [*summary.reward_tables(results), summary.width_table(results)]
    tables.append(summary.agreement_table(results))
    for made in (summary.spread_table, summary.entropy_table, summary.holes):
        table = made(results)
        tables += [] if table is None else [table]
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    text = environment.get_template("study.html.j2").render(
        study=study,
        cells=len(results),
        policies=len({(r.policy, r.training_seed) for r in results}),
        tables=tables,
        drawings=_drawings(study, whole, sources),
        version=VERSION,
    )
    write_whole(out, text.encode())


def _drawings(
    study: Study, whole: Sequence[Result], sources: Sequence[str]
) -> list[tuple[str, list[Markup]]]:
    require_matplotlib()
    drawn: list[tuple[str, list[str]]] = []
    if figures.lines_of(whole):
        drawn.append(("Sweep of the weights' bits", [figures.sweep(whole)]))
    costs = ["parameter_bytes"]
    costs += ["instructions"] if any(r.instructions for r in whole) else []
    if any(r.method == "ladder" and r.weights == 8 for r in whole):
        drawn.append(("Return against cost", [figures.pareto(whole, cost) for cost in costs]))
    spread = summary.spread_rows(whole)
    if len(spread) > 1:
        svg = figures.scatter(
            [r.weight_width for r in spread],
            [r.relative_error for r in spread],
            [r.policy for r in spread],
            ("width of the weights", "relative error of the paper's 8 bits, %"),
        )
        drawn.append(("Width of the weights against the error", [svg]))
    if study.histograms and sources:
        drawn.append(("Weights", _histograms(sources)))
    return [(title, [Markup(svg) for svg in svgs]) for title, svgs in drawn]


def _histograms(sources: Sequence[str]) -> list[str]:
    drawn = []
    for name in list(dict.fromkeys(sources))[:MOST_HISTOGRAMS]:
        try:
            source = open_source(name, ImportOptions(), None)
        except QuarlError:  # its cells are holes with a reason
            continue
        if isinstance(source.policy, Policy):
            weights = [
                n.op.weights.ravel() for n in source.policy.nodes if isinstance(n.op, Weighted)
            ]
            drawn.append(figures.histogram(np.concatenate(weights).astype(np.float32), source.name))
    return drawn
