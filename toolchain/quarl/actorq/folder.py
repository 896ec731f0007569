"""The folder of a run: who may write into it, what it says of itself, how long it has taken.

In: a folder's path. Out: a claim that lasts as long as the process, and small JSON files, each
written whole.
    run.json        what was asked for           curve.csv       one line a judged policy
    time.json       wall seconds so far          accounts.json   where the time went
    checkpoints/    the newest checkpoint        best/           the best int8 policy so far
    policy/         the result, a folder that `quarl ship` takes
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from annotated_types import Ge

from quarl.actorq.documents import DOCUMENT
from quarl.actorq.settings import Settings
from quarl.actorq.store import Status
from quarl.errors import InputError
from quarl.files.atomic import write_whole
from quarl.files.documents import table_at, value_of
from quarl.files.system import HAS_LOCKS, hold
from quarl.profiles.host import cpu_name
from quarl.sources.recipe import Recipe

LOCK, RUN_FILE, TIME_FILE, ACCOUNTS_FILE = ".lock", "run.json", "time.json", "accounts.json"
POLICY_FOLDER = "policy"
Seconds: TypeAlias = Annotated[float, Ge(0)]


@contextmanager
def claimed(folder: Path, *, resume: bool) -> Iterator[None]:
    """Hold the folder for one run.

    Raises:
        InputError: another run has it, it holds a run already, or there is nothing to resume.
    """
    if resume and not (folder / RUN_FILE).is_file():
        raise InputError(f"{folder}: there is no run to resume. Start one without --resume.")
    if not resume and folder.exists() and any(folder.iterdir()):
        advice = "--resume goes on with it" if (folder / RUN_FILE).is_file() else "it is not a run"
        raise InputError(f"{folder}: is not empty ({advice}): name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    with lock:
        if HAS_LOCKS and not hold(lock.fileno()):
            raise InputError(f"{folder}: another run writes into it now: name another folder")
        yield


def describe(folder: Path, recipe: Recipe, settings: Settings, *, resume: bool) -> None:
    """Write what the run was asked for; a resumed run must ask for the same.

    Raises:
        InputError: it asks for something else; names what.
    """
    table = {
        "format": 1,
        "name": recipe.name,
        "env": {"id": recipe.env.id, "kwargs": dict(recipe.env.kwargs)},
        "seed": recipe.train.seed,
        "lanes": recipe.train.envs,
        "settings": asdict(settings),
    }
    table = json.loads(json.dumps(table))
    if resume:
        before = table_at(folder / RUN_FILE, DOCUMENT)
        changed = sorted(_paths(before, table))
        if changed:
            raise InputError(
                f"{folder}: the run was started with other settings: {', '.join(changed)}. Resume "
                "with the same, or name another folder"
            )
    write_whole(folder / RUN_FILE, (json.dumps(table, indent=1) + "\n").encode())


def machine_name() -> str:
    """Return what this process runs on."""
    return f"{cpu_name()}, {os.cpu_count()} processors, {platform.machine()}"


def wall_s(folder: Path) -> float:
    """Return how long earlier parts of the run have taken.

    Raises:
        InputError: the file says no such thing.
    """
    path = folder / TIME_FILE
    if not path.is_file():
        return 0.0
    return value_of(Seconds, table_at(path, DOCUMENT).get("wall_s"), str(path), DOCUMENT)


def write_wall(folder: Path, seconds: float) -> None:
    """Write how long the run has taken."""
    write_whole(folder / TIME_FILE, json.dumps({"wall_s": round(seconds, 3)}).encode())


def write_accounts(
    folder: Path, settings: Settings, status: Status, wall: float, joules: float | None
) -> None:
    """Write where the time of the run went, its last part."""
    table: dict[str, Any] = {
        "machine": machine_name(),
        "wall_s": wall,
        "joules": joules,
        "batches_a_call": settings.batches_a_call,
        "env_steps": status.env_steps,
        "learner_step": status.learner_step,
        "policies": status.policies,
        "episodes": status.episodes,
        "ages": asdict(status.ages),
        "checked": status.checked,
        "differing": status.differing,
        "learner": None if status.learner is None else status.learner.to_table(),
        "replay": status.account.to_table(),
        "actors": [account.to_table() for account in status.actors],
    }
    write_whole(folder / ACCOUNTS_FILE, (json.dumps(table, indent=1) + "\n").encode())


def _paths(before: Any, after: Any, at: str = "") -> Sequence[str]:
    """Return the paths at which two JSON values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted({*before, *after})
        return [
            path
            for key in keys
            for path in _paths(before.get(key), after.get(key), f"{at}.{key}" if at else key)
        ]
    return [] if before == after else [at]
