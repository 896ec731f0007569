"""The result of a run: a policy's folder, with the integers the actors played.

In: an outcome and the recipe's text. Out: RUN/policy, which `quarl ship` takes: float weights,
integers, observations the actors met, the score, and where all of it comes from.
"""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.actorq.block import Block, check_block, check_digest
from quarl.actorq.contents import float_policy_of, policy_of
from quarl.actorq.documents import DOCUMENT
from quarl.actorq.evaluating import BEST, FLOAT_FILE, INT8_FILE, POINT_FILE, Point
from quarl.actorq.folder import POLICY_FOLDER
from quarl.actorq.run import Outcome
from quarl.actorq.settings import FRAMEWORK
from quarl.actorq.transitions import Rows
from quarl.bundle.policy_file import policy_bytes, quant_policy_bytes
from quarl.errors import InputError
from quarl.files.atomic import write_whole
from quarl.files.documents import table_at, value_of
from quarl.files.open import read_file
from quarl.graph.env_spec import EnvSpec
from quarl.quantize.ladder import TRAINED_RUNG
from quarl.rollouts.actors import source_actor
from quarl.rollouts.collect import Observations
from quarl.rollouts.episodes import random_episodes, run_episodes
from quarl.sources.recipe import RECIPE_FILE, Recipe, ScoreRecipe, parse_recipe
from quarl.sources.source import CALIBRATION_FILE, HELDOUT_FILE
from quarl.stats.seeds import RANDOM_SEED, SCORE_SEED
from quarl.train.folder import fill_measured, write_observations

INTEGERS_FILE = "integers.npz"
SCORE_EPISODES, RANDOM_EPISODES = 100, 50
CALIBRATION_OBSERVATIONS, HELDOUT_OBSERVATIONS = 2_000, 1_000


def write_policy(outcome: Outcome, recipe: Recipe, text: str) -> Path:
    """Return the folder of the run's best int8 policy.

    Args:
        text: of the recipe.
    Raises:
        InputError: no policy was judged.
    """
    best = outcome.folder / BEST
    if not (best / POINT_FILE).is_file():
        raise InputError(f"{outcome.folder}: no policy was judged: train for more steps")
    said = table_at(best / POINT_FILE, DOCUMENT)
    point = value_of(Point, said, str(best / POINT_FILE), DOCUMENT)
    int8, floats = (_block(best / name) for name in (INT8_FILE, FLOAT_FILE))
    policy = float_policy_of(floats, outcome.contract, recipe.algorithm, FRAMEWORK)
    integers = replace(policy_of(int8, outcome.contract, policy.source_sha256), rung=TRAINED_RUNG)
    env = EnvSpec(recipe.env.id, recipe.env.kwargs)
    seeds = range(SCORE_SEED, SCORE_SEED + SCORE_EPISODES)
    scored = run_episodes(env, source_actor(policy), seeds)
    random_seeds = range(RANDOM_SEED, RANDOM_SEED + RANDOM_EPISODES)
    random_play = random_episodes(env, outcome.contract, random_seeds)
    score = ScoreRecipe(
        mean_return=float(scored.returns.mean()),
        std_return=float(scored.returns.std()),
        episodes=SCORE_EPISODES,
        seed=SCORE_SEED,
        success_rate=None if scored.successes is None else float(scored.successes.mean()),
    )
    calibration, held = _observations(outcome.rows)
    folder = outcome.folder / POLICY_FOLDER
    folder.mkdir(exist_ok=True)
    write_whole(folder / recipe.source, policy_bytes(policy))
    write_whole(folder / INTEGERS_FILE, quant_policy_bytes(integers))
    write_observations(folder / CALIBRATION_FILE, calibration)
    write_observations(folder / HELDOUT_FILE, held)
    filled = fill_measured(_with_integers(text), score, float(random_play.returns.mean()))
    parse_recipe(filled, str(folder / RECIPE_FILE))
    write_whole(folder / RECIPE_FILE, filled.encode())
    write_whole(folder / "SOURCE.md", _page(outcome, recipe, point, score).encode())
    return folder


def _block(path: Path) -> Block:
    """Return the policy that a run has kept.

    Raises:
        InputError: it cannot be read. DeviceError: it was changed.
    """
    block = np.frombuffer(read_file(path), np.uint8).copy()
    check_block(block)
    check_digest(block)
    return block


def _observations(rows: Rows) -> tuple[Observations, Observations]:
    """Return calibration and held-out observations: two episodes in three, and the third."""
    _, episode = np.unique(
        rows["actor"].astype(np.int64) << 32 | rows["episode"], return_inverse=True
    )
    is_held = episode % 3 == 2
    if not is_held.any():  # one or two long episodes: the later part of them
        is_held = np.arange(len(rows)) >= 2 * len(rows) // 3
    obs = np.ascontiguousarray(rows["obs"])
    return (
        _spread(obs[~is_held], episode[~is_held], CALIBRATION_OBSERVATIONS),
        _spread(obs[is_held], episode[is_held], HELDOUT_OBSERVATIONS),
    )


def _spread(obs: NDArray[Any], episode: NDArray[np.int64], count: int) -> Observations:
    """Return about `count` observations, evenly spaced, and those with the extremes of each
    feature.
    """
    even = np.linspace(0, len(obs) - 1, min(count, len(obs))).round().astype(int)
    flat = obs.reshape(len(obs), -1)
    chosen = np.unique(np.concatenate([even, flat.argmin(axis=0), flat.argmax(axis=0)]))
    return Observations(obs[chosen], episode[chosen])


def _with_integers(text: str) -> str:
    """Return the recipe's text with the integers named, where it does not name them."""
    lines = text.splitlines(keepends=True)
    if any(line.replace(" ", "").startswith("integers=") for line in lines):
        return text
    place = next(i for i, line in enumerate(lines) if line.replace(" ", "").startswith("source="))
    lines.insert(place + 1, f'integers = "{INTEGERS_FILE}"  # those the actors played\n')
    return "".join(lines)


def _page(outcome: Outcome, recipe: Recipe, point: Point, score: ScoreRecipe) -> str:
    acting, status = outcome.settings.actors, outcome.status
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("torch", "ray", "gymnasium", "numpy")
    )
    rows = "\n".join(
        f"| {p.learner_step} | {p.env_steps} | {p.wall_s:.1f} | {p.int8_mean:.2f} "
        f"| {p.float_mean:.2f} |"
        for p in outcome.points
    )
    return f"""# {recipe.name}

{recipe.task}

Trained by `quarl actorq` from `recipe.toml` in this folder: {recipe.algorithm}, seed
{recipe.train.seed}, {acting.count} actors in {acting.precision}, a full-precision learner;
{status.env_steps:,} environment steps in
{outcome.wall_s:,.0f} s ({platform.machine()}).
Packages: python {platform.python_version()}, {packages}. The licence is quarl's own.

The weights are those of learner step {point.learner_step:,}, whose int8 policy had the best mean
return on {point.episodes} episodes kept apart for choosing. `integers.npz` holds the integers that
were judged then (digest
{point.digest[:16]}): `quarl ship` keeps them. {outcome.compared:,} outputs of the run's int8
policies were compared with the NumPy
reference, {outcome.differing} differ.

The actors do not act in step with each other: the same seed gives another policy that is about as
good.

## Score

{score.episodes} episodes of the float policy without exploration noise, seeds {score.seed:_} to
{score.seed + score.episodes - 1:_}: mean return {score.mean_return:.2f} (standard deviation
{score.std_return:.2f}).

## Learning curve

Deterministic play on {point.episodes} episodes; wall time is that of the learner.

| learner step | environment steps | wall s | int8 return | float return |
|---:|---:|---:|---:|---:|
{rows}

## Observations

`calibration.npz` and `heldout.npz` hold observations the actors met, in raw units of the
environment, and the episode each is from.
"""
