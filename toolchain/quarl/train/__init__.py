"""Training a policy from its recipe: `quarl train models/<policy>` or `train(...)`.

Goes in: a recipe. Comes out: a policy's whole folder: weights, normaliser, calibration and held-out
observations, score, SOURCE.md.
Episodes that choose a checkpoint, give the score, calibrate or are held out have seeds of their own
(`quarl.stats.seeds`) and never meet.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import gymnasium
import numpy as np

from quarl.errors import InputError, ToolMissingError
from quarl.files.work_folder import work_folder
from quarl.graph.contract import Contract
from quarl.graph.env_spec import EnvSpec
from quarl.graph.reference import act
from quarl.importers.beside_tensorflow import prepare_for_tensorflow
from quarl.importers.spaces import action_of, observation_of
from quarl.rollouts.collect import Observations, collect_observations
from quarl.rollouts.episodes import Episodes, random_episodes, run_episodes
from quarl.sources.recipe import RECIPE_FILE, Recipe, ScoreRecipe, read_recipe
from quarl.stats.seeds import CALIBRATION_SEED, HELDOUT_SEED, RANDOM_SEED, SCORE_SEED
from quarl.train.folder import (
    fill_measured,
    source_page,
    with_integers,
    write_integers,
    write_normalizer,
    write_observations,
)
from quarl.train.trained import Progress, Run, Trained, Trainer

TRAINERS: dict[str, str] = {
    "stable-baselines3": "quarl.train.sb3",
    "sb3-contrib": "quarl.train.sb3",
    "keras": "quarl.train.keras_dqn",
}
"""Framework of a recipe -> module with its `fit` (a `Trainer`)."""
ATARI_ENV = "quarl.envs.atari:quarl/Atari-v0"

SCORE_EPISODES = 500
RANDOM_EPISODES = 200
CALIBRATION_OBSERVATIONS = 2_000
HELDOUT_OBSERVATIONS = 1_000
# steps played to meet rare extremes, of which a few observations are kept
CALIBRATION_STEPS = 20_000
FEWEST_EPISODES, MOST_EPISODES = 20, 200


def train(
    folder: Path,
    out: Path,
    *,
    runs: Path = Path("runs"),
    quick: bool = False,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Recipe:
    """Train the policy of `folder` and write its complete folder to `out`; return the recipe with
    the measured score.

    Args:
        folder: holds the recipe.
        out: may be `folder` itself; its name must be the policy's.
        runs: checkpoints and curves go to `runs/<policy>`.
        quick: train for `quick_steps` only.
        resume: go on from the last checkpoint in `runs`.
    Raises:
        InputError: a recipe that cannot be trained.
        ToolMissingError: the framework is not installed.
    """
    recipe = read_recipe(folder)
    if out.resolve().name != recipe.name:
        raise InputError(
            f'{out}: the folder of policy "{recipe.name}" must have its name. Use '
            f"{out / recipe.name}."
        )
    work_folder(out)
    run = Run(runs / recipe.name, quick, resume, progress)
    if recipe.env.id == ATARI_ENV:  # its games are long, so fewer are measured
        written: Recipe = _import(recipe, "quarl.train.atari").train_atari(recipe, folder, out, run)
        return written
    return _write_folder(recipe, trainer_of(recipe)(recipe, run), folder, out)


def _write_folder(recipe: Recipe, trained: Trained, folder: Path, out: Path) -> Recipe:
    """Measure the policy, write its folder, return the recipe with the score."""
    env = EnvSpec(recipe.env.id, recipe.env.kwargs)
    scored = run_episodes(env, trained.actor, range(SCORE_SEED, SCORE_SEED + SCORE_EPISODES))
    random_return = _random_return(env, recipe)
    calibration, heldout = _observations(env, trained, float(scored.lengths.mean()))

    trained.save(out / recipe.source)
    if recipe.normalizer is not None:
        assert trained.normalizer is not None, (
            "a recipe with a normaliser trains with normalize_observations"
        )
        write_normalizer(out / recipe.normalizer, trained.normalizer)
    played_in_integers = None
    if trained.integers is not None:
        integers = write_integers(out, recipe, trained, _contract(env, recipe))
        played_in_integers = run_episodes(
            env, partial(act, integers), range(SCORE_SEED, SCORE_SEED + SCORE_EPISODES)
        )
    write_observations(out / "calibration.npz", calibration)
    write_observations(out / "heldout.npz", heldout)
    text = (folder / RECIPE_FILE).read_text(encoding="utf-8")
    text = fill_measured(text, _score_of(scored), random_return)
    (out / RECIPE_FILE).write_text(text, encoding="utf-8")
    measured = read_recipe(out)
    tail = np.quantile(scored.returns, [0.0, 0.01, 0.05, 0.5])
    page = source_page(measured, trained, tail)
    if played_in_integers is not None:
        page = with_integers(page, measured, played_in_integers, trained.steps)
    (out / "SOURCE.md").write_text(page, encoding="utf-8")
    return measured


def _score_of(scored: Episodes) -> ScoreRecipe:
    success_rate = None if scored.successes is None else float(scored.successes.mean())
    return ScoreRecipe(
        float(scored.returns.mean()),
        float(scored.returns.std()),
        SCORE_EPISODES,
        SCORE_SEED,
        success_rate,
    )


def _random_return(env: EnvSpec, recipe: Recipe) -> float:
    seeds = range(RANDOM_SEED, RANDOM_SEED + RANDOM_EPISODES)
    return float(random_episodes(env, _contract(env, recipe), seeds).returns.mean())


def _observations(
    env: EnvSpec, trained: Trained, mean_length: float
) -> tuple[Observations, Observations]:
    """Return what the policy meets: to calibrate with, and held out."""
    played = int(np.clip(CALIBRATION_STEPS / mean_length, FEWEST_EPISODES, MOST_EPISODES))
    calibration_seeds = range(CALIBRATION_SEED, CALIBRATION_SEED + played)
    calibration = collect_observations(
        env, trained.actor, calibration_seeds, CALIBRATION_OBSERVATIONS
    )
    heldout_seeds = range(HELDOUT_SEED, HELDOUT_SEED + played // 2)
    heldout = collect_observations(env, trained.actor, heldout_seeds, HELDOUT_OBSERVATIONS)
    return calibration, heldout


def _contract(env: EnvSpec, recipe: Recipe) -> Contract:
    """Return the contract as the environment's spaces say it."""
    made = gymnasium.make(env.id, **env.kwargs)
    made.close()
    return Contract(
        observation_of(made.observation_space, env.id),
        action_of(made.action_space, env.id),
        recipe.step_hz,
    )


def trainer_of(recipe: Recipe) -> Trainer:
    """Return what trains the recipe's framework.

    Raises:
        InputError: quarl does not train with it.
        ToolMissingError: it is not installed.
    """
    if recipe.framework not in TRAINERS:
        raise InputError(
            f'framework "{recipe.framework}": quarl trains with {", ".join(TRAINERS)}.'
        )
    trainer: Trainer = _import(recipe, TRAINERS[recipe.framework]).fit
    return trainer


def _import(recipe: Recipe, module: str) -> ModuleType:
    if recipe.framework == "keras":
        prepare_for_tensorflow()
    try:
        return import_module(module)
    except ImportError as error:
        extra = "tf" if recipe.framework == "keras" else "sb3"
        message = (
            f"training {recipe.name} needs {recipe.framework}: {error}. Install it "
            f"with: pip install quarl[{extra}]"
        )
        raise ToolMissingError(message) from error
