"""The page of ActorQ: where the time of runs goes, and what int8 actors gain; one HTML file that
loads nothing.

In: folders of runs, a threshold that was stated before, and costs measured on this machine. Out:
the page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from markupsafe import Markup

from quarl.actorq import figures
from quarl.actorq.comparison import (
    Thresholds,
    by_actors,
    cases_of,
    cost_rows,
    speed_ups,
    threshold_of,
)
from quarl.actorq.measure import break_even
from quarl.actorq.record import Record
from quarl.actorq.saturation import costs_of, limits_of
from quarl.actorq.tables import Measured, energy_text, machines_of, tables_of
from quarl.files.atomic import write_whole
from quarl.files.svg_figure import require_matplotlib
from quarl.resources import VERSION

TEMPLATES = Path(__file__).parent / "templates"


def write_page(
    records: Sequence[Record], thresholds: Thresholds, measured: Sequence[Measured], out: Path
) -> None:
    """Write the page, and its numbers beside it as JSON.

    Raises:
        ToolMissingError: matplotlib is not installed.
    """
    require_matplotlib()
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    text = environment.get_template("actorq.html.j2").render(
        machines=machines_of(records),
        compared=sum(r.compared for r in records),
        differing=sum(r.differing for r in records),
        tables=tables_of(records, thresholds, measured),
        drawings=_drawings(records, thresholds, measured),
        energy=energy_text(records),
        version=VERSION,
    )
    write_whole(out, text.encode())
    document = {
        "speed_ups": [asdict(gain) for gain in speed_ups(records, thresholds)],
        "costs_ms": [
            {"run": r.folder.name, "kind": r.kind, "pull_every": r.case.pull_every, **cost_rows(r)}
            for r in records
        ],
        "widths": [asdict(each) for each in measured],
        "break_even": {each.env: break_even(each.costs) for each in measured},
    }
    numbers = json.dumps(_without_nan(document), indent=1, default=str) + "\n"
    write_whole(out.with_suffix(".json"), numbers.encode())


def _drawings(
    records: Sequence[Record], thresholds: Thresholds, measured: Sequence[Measured]
) -> list[tuple[str, list[Markup]]]:
    drawn: list[tuple[str, list[str]]] = []
    by_name: dict[tuple[str, tuple[int, ...], str], list[Record]] = {}
    for record in records:
        case = record.case
        by_name.setdefault((case.name, case.layers, case.on_machine), []).append(record)
    for (name, layers, on_machine), runs in by_name.items():
        first = {(r.kind, r.case.pull_every): r for r in reversed(runs)}
        title = f"{name}, {' x '.join(map(str, layers))}{on_machine}"
        chosen = sorted(first.values(), key=lambda r: (r.case.pull_every, r.kind))
        drawn.append((f"Where the time goes: {title}", [figures.cost_bars(chosen)]))
    for case, kinds in cases_of(records).items():
        if any(len(run.points) > 1 for runs in kinds.values() for run in runs):
            over = ("cpu_s", "wall_s", "learner_step")
            drawn.append(
                (
                    case.title,
                    [figures.curves(kinds, o, threshold_of(thresholds, case)) for o in over],
                )
            )
    for each in measured:
        svg = figures.widths(each.costs, break_even(each.costs))
        drawn.append((f"Width: {each.env}", [svg]))
    drawn += _scaling(records)
    return [(title, [Markup(svg) for svg in svgs]) for title, svgs in drawn]


def _scaling(records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Return the model's curve for each kind that was run with several numbers of actors."""
    drawn = []
    for runs in by_actors(records):
        costs = costs_of(runs[0], runs[0].batches_a_call)
        at = sorted((run.case.actors, run.env_steps / run.learner.wall_s) for run in runs)
        svg = figures.saturation(costs, limits_of(costs), at)
        drawn.append((f"Actors: {runs[0].case.name}, {runs[0].kind}", [svg]))
    return drawn


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
