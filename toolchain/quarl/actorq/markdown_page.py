"""The page of ActorQ in Markdown, with its figures beside it as SVG: for a repository's documents.

In: records of runs, thresholds stated before, costs measured on this machine. Out: FILE.md, and
images/FILE-*.svg beside it: where the time goes, and the return of every task with a threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quarl.actorq import figures
from quarl.actorq.comparison import Thresholds, cases_of, threshold_of
from quarl.actorq.measure import break_even
from quarl.actorq.record import Record
from quarl.actorq.tables import Measured, Table, energy_text, machines_of, tables_of
from quarl.files.atomic import write_whole
from quarl.files.svg_figure import require_matplotlib

OVER = {"cpu_s": "CPU time", "learner_step": "learner steps", "wall_s": "wall time"}


def write_markdown(
    records: Sequence[Record], thresholds: Thresholds, measured: Sequence[Measured], out: Path
) -> None:
    """Write the page and its figures.

    Raises:
        ToolMissingError: matplotlib is not installed.
    """
    require_matplotlib()
    compared, differing = sum(r.compared for r in records), sum(r.differing for r in records)
    parts = [
        "# ActorQ, measured",
        f"{machines_of(records)}. CPU time is measured; wall time is that of a machine with other "
        f"work.\nOf {compared:,} int8 outputs compared with the NumPy "
        f"reference, {differing} differ.",
        *(_markdown(table) for table in tables_of(records, thresholds, measured)),
    ]
    images = out.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    for number, (title, svg) in enumerate(_figures(records, thresholds, measured), 1):
        file = images / f"{out.stem}-{number}.svg"
        write_whole(file, svg.encode())
        parts.append(f"## {title}\n\n![{title}](images/{file.name})")
    parts.append(f"## Energy\n\n{energy_text(records)}")
    write_whole(out, ("\n\n".join(parts) + "\n").encode())


def _markdown(table: Table) -> str:
    lines = [table.head, tuple("---" for _ in table.head), *table.rows]
    cells = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## {table.title}\n\n{table.note.replace('. ', '.' + chr(10))}\n\n{cells}"


def _figures(
    records: Sequence[Record], thresholds: Thresholds, measured: Sequence[Measured]
) -> list[tuple[str, str]]:
    """Return title and SVG of each figure; first where the time goes, at each pull period."""
    drawn = []
    costly: dict[tuple[str, str], dict[tuple[int, str], Record]] = {}
    for run in records:
        place = run.case.name, run.case.on_machine
        costly.setdefault(place, {}).setdefault((run.case.pull_every, run.kind), run)
    for (name, on_machine), by_pull in costly.items():
        if len({pull for pull, _ in by_pull}) > 1:
            chosen = [by_pull[key] for key in sorted(by_pull)]
            title = f"Where an actor's time goes: {name}{on_machine}"
            drawn.append((title, figures.cost_bars(chosen)))
    for case, kinds in cases_of(records).items():
        threshold = threshold_of(thresholds, case)
        points = max(len(run.points) for runs in kinds.values() for run in runs)
        if threshold is not None and points > 1:
            drawn += [
                (f"{case.name}, return over {words}", figures.curves(kinds, over, threshold))
                for over, words in OVER.items()
            ]
    for each in measured:
        svg = figures.widths(each.costs, break_even(each.costs))
        drawn.append((f"Width: {each.env}", svg))
    return drawn
