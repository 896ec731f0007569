"""A whole study: train what is to be trained, compute the cells that are new, write the results.

In: a study and a folder. Out: results.csv with its schema, one file a cell, and the page. Whatever
is killed goes on where it was; a study that grows computes its new cells only.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from quarl.errors import QuarlError
from quarl.files.atomic import write_whole
from quarl.files.work_folder import work_folder
from quarl.importers import ImportOptions
from quarl.sources.source import open_source
from quarl.study.plan import Cell, Study, Training, cells_of, trainings_of
from quarl.study.result import RESULT_COLUMNS, Result, row_of
from quarl.study.run_cell import Place, blank, identity_of, run_cell, train_policy
from quarl.study.store import Store
from quarl.workers import Workers

RESULTS, SCHEMA, PAGE = "results.csv", "results.schema.json", "study.html"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a study stands, for people."""

    done: int
    cells: int
    latest: Result | None  # None: nothing new yet


Tell = Callable[[Standing], None]


def run_study(
    study: Study, root: Path, out: Path, workers: Workers, tell: Tell = lambda standing: None
) -> list[Result]:
    """Return every cell's result, in the order of the grid, and write them to `out`.

    Args:
        root: the study file's folder, from which recipes are named.
    Raises:
        InputError: the folder cannot be written, or a recipe is not there.
    """
    place, store = Place(work_folder(out)), Store(out)
    problems = _train(study, root, place, workers)
    grid = _grid(study, root, place, problems)
    found = {entry.key: entry.hole or store.find(entry.key) for entry in grid}
    new = [(entry.cell, place, entry.key) for entry in grid if found[entry.key] is None]
    done = len(grid) - len(new)
    tell(Standing(done, len(grid), None))
    for key, result in workers.run(_computed, new):
        store.keep(key, result)
        found[key] = result
        done += 1
        tell(Standing(done, len(grid), result))
    results = [made for entry in grid if (made := found[entry.key]) is not None]
    write_results(results, out)
    return results


def write_results(results: list[Result], out: Path) -> None:
    """Write the table of results and what its columns mean."""
    work_folder(out)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(RESULT_COLUMNS)
    writer.writerows(row_of(result) for result in results)
    write_whole(out / RESULTS, buffer.getvalue().encode())
    schema = json.dumps({"columns": RESULT_COLUMNS}, indent=1) + "\n"
    write_whole(out / SCHEMA, schema.encode())


def _computed(cell: Cell, place: Place, key: str) -> tuple[str, Result]:
    return key, run_cell(cell, place, key)


def _trained(training: Training, place: Place) -> tuple[Training, str]:
    """Return why a training failed; nothing where it did not."""
    try:
        train_policy(training, place)
    except QuarlError as error:
        return training, str(error).partition("\n")[0]
    return training, ""


def _train(study: Study, root: Path, place: Place, workers: Workers) -> dict[str, str]:
    """Return the trainings that failed, by their key, and why."""
    trainings = [training for _, training in trainings_of(study, root)]
    missing = [t for t in trainings if not (place.policy(t) / "SOURCE.md").is_file()]
    calls = [(training, place) for training in missing]
    return {t.key: why for t, why in workers.run(_trained, calls) if why}


@dataclass(frozen=True, slots=True)
class _Entry:
    key: str
    cell: Cell
    hole: Result | None  # what stands there where the policy itself is missing


def _grid(study: Study, root: Path, place: Place, problems: dict[str, str]) -> list[_Entry]:
    """Return every cell once, in the order of the study; those of a policy that cannot be had are
    holes with their reason.
    """
    policies: list[tuple[str, Training | None, str]] = [
        (_located(entry.source, root), None, "")
        for entry in study.policies
        if entry.source is not None
    ]
    for _, trained in trainings_of(study, root):
        problem = problems.get(trained.key, "")
        policies.append((str(place.policy(trained)), trained, problem))
    entries: list[_Entry] = []
    for policy, training, problem in policies:
        identity, is_image = policy, False
        if not problem:
            try:
                source = open_source(policy, ImportOptions(), None)
                identity = identity_of(source)
                is_image = source.policy.contract.observation.is_image
            except QuarlError as error:
                problem = str(error).partition("\n")[0]
        for cell in cells_of(study, policy, training, is_image=is_image):
            hole = replace(blank(cell, None), problem=problem) if problem else None
            entries.append(_Entry(cell.key(identity), cell, hole))
    return list({entry.key: entry for entry in entries}.values())


def sources_of(study: Study, root: Path, out: Path) -> list[str]:
    """Return the source of every policy of the study that is there."""
    there = [_located(entry.source, root) for entry in study.policies if entry.source is not None]
    trained = [str(Place(out).policy(training)) for _, training in trainings_of(study, root)]
    return there + [folder for folder in trained if (Path(folder) / "SOURCE.md").is_file()]


def _located(source: str, root: Path) -> str:
    near = root / source
    return str(near) if near.exists() else source
