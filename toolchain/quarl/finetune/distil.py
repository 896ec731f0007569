"""Distillation: from a float policy to integers that were trained to decide as it does.

In: a policy, its environment or observations of its play, and the widths. Out: the integers that
decide best on held-out observations and play no worse, the best post-training ones among them, with
a record of everything that was tried. No reward is needed: the float source says what is right.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quarl.emitters import emit_tflite
from quarl.finetune.assignment import Assignment, Distilled, Tell
from quarl.finetune.notebook import Notebook
from quarl.finetune.race import POST_TRAINING, Race
from quarl.finetune.record import Candidate, Record
from quarl.finetune.table import Table, actor_of, gather
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs, real_outputs
from quarl.quantize.calibration import Calibration
from quarl.rollouts.actors import artifact_outputs, source_actor
from quarl.rollouts.episodes import Episodes, run_episodes
from quarl.stats.seeds import SELECTION_SEED

CHECKED = {True: 64, False: 5_000}  # observations, of images and of vectors
MOST_FAITHFUL = 2  # candidates that play for the choice, and the post-training one
HOPELESS = 10.0  # times the least error, beyond which a candidate may wander for ever
CLEARLY = 2.0  # standard errors below the return that is wanted, from which one plays worse


def distil(
    policy: Policy,
    env: EnvSpec | None,
    calibration: Calibration,
    assignment: Assignment,
    notebook: Notebook,
    tell: Tell = lambda standing: None,
) -> Distilled:
    """Return the best integers of these widths that training or rounding gives.

    Args:
        env: None: learned from the calibration's observations alone.
        notebook: what was begun there is continued.
    Raises:
        InputError: the environment cannot be played, or there is too little to learn from.
        QuantizationError: no candidate of these widths is possible.
    """
    torch.set_num_threads(1)
    began = time.perf_counter()
    table = gather(policy, env, calibration, notebook)
    try:
        race = Race(table, assignment, notebook, tell)
        race.run()
        record = replace(_record(race), seconds=time.perf_counter() - began)
        return _choose(table, race.entries, record)
    finally:
        table.close()


def task_of(policy: Policy, env: EnvSpec | None, assignment: Assignment) -> dict[str, Any]:
    """Return what a notebook belongs to."""
    return {
        "source": policy.source_sha256,
        "contract": policy.contract.digest,
        "env": None if env is None else [env.id, dict(env.kwargs), *env.wrappers],
        "widths": asdict(assignment.widths),
        "seed": assignment.seed,
    }


def _record(race: Race) -> Record:
    table = race.table
    return Record(
        widths=race.widths,
        seed=race.assignment.seed,
        observations=len(table.lessons),
        env_steps=sum(walk.steps for walk in table.walks),
        seconds=0.0,
        ceiling=race.ceiling,
        source_return=None,
        episodes=0,
        candidates=tuple(race.failed),
        chosen="",
        differing=0,
        compared=0,
        interrupted=race.interrupted,
    )


def _choose(
    table: Table, entries: list[tuple[Candidate, QuantPolicy]], record: Record
) -> Distilled:
    """Return the most faithful candidate that plays as well as its source, or as the best of them
    where none does; of two equally faithful ones the post-training one, which stands first.
    """
    order = sorted(range(len(entries)), key=lambda place: entries[place][0].error)
    played: dict[int, Episodes] = {}
    source: Episodes | None = None
    if table.env is not None and len(entries) > 1 and not record.interrupted:
        seeds = range(SELECTION_SEED, SELECTION_SEED + table.scale.episodes)
        source = run_episodes(table.env, source_actor(table.policy), seeds)
        rounded = [at for at, (one, _) in enumerate(entries) if one.name == POST_TRAINING]
        most = HOPELESS * entries[order[0]][0].error
        for place in dict.fromkeys((*order[:MOST_FAITHFUL], *rounded)):
            if entries[place][0].error <= most:
                played[place] = run_episodes(table.env, actor_of(entries[place][1]), seeds)
    chosen = _best_player(order, played, source)
    candidates = tuple(
        replace(
            candidate,
            mean_return=float(played[place].returns.mean()) if place in played else None,
        )
        for place, (candidate, _) in enumerate(entries)
    )
    integers = entries[chosen][1]
    sample = table.held[: CHECKED[table.is_image]]
    differing, compared = _differing(integers, sample)
    return Distilled(
        integers,
        replace(
            record,
            candidates=(*candidates, *record.candidates),
            chosen=candidates[chosen].name,
            source_return=None if source is None else float(source.returns.mean()),
            episodes=0 if source is None else len(source.seeds),
            differing=differing,
            compared=compared,
        ),
    )


def _best_player(order: list[int], played: dict[int, Episodes], source: Episodes | None) -> int:
    """Return the first of the order whose return is not clearly below the source's, or below the
    best one's where that is less: of several, one is always lucky in a few episodes.
    """
    if len(played) < 2 or source is None:
        return order[0]
    best = max(played, key=lambda place: float(played[place].returns.mean()))
    wanted = min(source.returns, played[best].returns, key=np.mean)
    for place in order:
        if place not in played:
            break
        lost = wanted - played[place].returns
        if lost.mean() <= CLEARLY * lost.std(ddof=1) / np.sqrt(len(lost)):
            return place
    return best


def _differing(integers: QuantPolicy, obs: NDArray[Any]) -> tuple[int, int]:
    """Return how many outputs LiteRT and the reference give differently, and of how many."""
    wanted = real_outputs(integers, integer_outputs(integers, obs))
    made = artifact_outputs(integers, emit_tflite(integers))(obs)
    return int((made != wanted).sum()), wanted.size


def open_notebook(
    name: str,
    policy: Policy,
    env: EnvSpec | None,
    assignment: Assignment,
    runs: Path,
    *,
    resume: bool,
) -> Notebook:
    """Return the notebook of that distillation, in a folder of `runs` that its widths name."""
    widths = assignment.widths
    parts = [name, widths.name, f"a{widths.activations or 8}"]
    parts += [] if widths.inputs is None else [f"i{widths.inputs}"]
    parts += [f"s{assignment.seed}"]
    return Notebook(runs / "-".join(parts), task_of(policy, env, assignment), resume=resume)
