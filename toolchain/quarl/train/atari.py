"""Training an Atari policy: what its recipe names learns, then the policy is measured over whole
games and its folder is written.

Goes in: a recipe and a run folder. Comes out: the policy's complete folder. Games are long, so
fewer are measured than elsewhere.
The learners are `quarl.train.atari_ppo` and `quarl.train.atari_dqn`; their hyperparameters are
described there.
"""

from __future__ import annotations

import csv
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from quarl.envs.atari import LONGEST_GAME, Console
from quarl.errors import InputError
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions, read_policy
from quarl.rollouts.actors import source_actor
from quarl.rollouts.collect import collect_observations
from quarl.rollouts.episodes import Episodes, run_episodes
from quarl.sources.recipe import RECIPE_FILE, Recipe, ScoreRecipe, read_recipe
from quarl.stats.seeds import CALIBRATION_SEED, HELDOUT_SEED, RANDOM_SEED, SCORE_SEED
from quarl.train import atari_dqn, atari_ppo
from quarl.train.folder import fill_measured, write_observations
from quarl.train.games import SELECTION_LENGTH, Player
from quarl.train.trained import Run

LEARNERS: dict[str, Callable[..., Player]] = {"PPO": atari_ppo.fit, "DQN": atari_dqn.fit}
SCORE_EPISODES = 30
CALIBRATION_EPISODES, CALIBRATION_OBSERVATIONS = 20, 600
HELDOUT_EPISODES, HELDOUT_OBSERVATIONS = 20, 600


def train_atari(recipe: Recipe, folder: Path, out: Path, run: Run) -> Recipe:
    """Train the policy and write its complete folder to `out`; return the recipe with the measured
    score.

    Args:
        folder: holds the recipe's file; its comments are kept.
        out: may be `folder` itself; its name must be the policy's.
        run: a quick one measures a game or two.
    Raises:
        InputError: another algorithm, or integers to be learned; or as the learner's `fit`.
    """
    if recipe.algorithm not in LEARNERS:
        raise InputError(
            f'{recipe.name}: algorithm "{recipe.algorithm}"; for Atari quarl has '
            f"{', '.join(LEARNERS)}"
        )
    if recipe.qat is not None:
        raise InputError(
            f"{recipe.name}: [qat]: Atari policies learn in float: omit the table, then quarl "
            "finetune"
        )
    player = LEARNERS[recipe.algorithm](recipe, run)
    return _write_folder(recipe, player, folder, out, run.quick)


def _write_folder(recipe: Recipe, player: Player, folder: Path, out: Path, quick: bool) -> Recipe:
    """Measure the policy, write its folder, return the recipe with the score."""
    player.trained.save(out / recipe.source)
    policy = read_policy(
        out / recipe.source, ImportOptions()
    )  # the file as written, by the actor the gate uses
    assert isinstance(policy, Policy), "only an int8 .tflite holds integers"
    actor = source_actor(policy)
    env, judged = (
        EnvSpec(recipe.env.id, recipe.env.kwargs),
        EnvSpec(recipe.env.id, recipe.env.judged_kwargs),
    )
    games = 1 if quick else SCORE_EPISODES
    scored, *harder = [
        run_episodes(spec, actor, range(SCORE_SEED, SCORE_SEED + games))
        for spec in ([env] if env == judged else [env, judged])
    ]
    score = ScoreRecipe(
        float(scored.returns.mean()), float(scored.returns.std()), games, SCORE_SEED
    )
    chance = np.random.default_rng(RANDOM_SEED)
    actions = len(Console(str(recipe.env.kwargs["game"])).actions)
    random_play = run_episodes(
        env,
        lambda obs: chance.integers(actions, size=len(obs)),
        range(RANDOM_SEED, RANDOM_SEED + games),
    )
    calibration_seeds = range(
        CALIBRATION_SEED, CALIBRATION_SEED + (1 if quick else CALIBRATION_EPISODES)
    )
    heldout_seeds = range(HELDOUT_SEED, HELDOUT_SEED + (1 if quick else HELDOUT_EPISODES))

    for name, seeds, count in (
        ("calibration.npz", calibration_seeds, CALIBRATION_OBSERVATIONS),
        ("heldout.npz", heldout_seeds, HELDOUT_OBSERVATIONS),
    ):
        write_observations(out / name, collect_observations(judged, actor, seeds, count))
    text = fill_measured(
        (folder / RECIPE_FILE).read_text(encoding="utf-8"), score, float(random_play.returns.mean())
    )
    (out / RECIPE_FILE).write_text(text, encoding="utf-8")
    measured = read_recipe(out)
    (out / "SOURCE.md").write_text(
        _source_page(measured, player, [scored, *harder]), encoding="utf-8"
    )
    return measured


def _source_page(recipe: Recipe, player: Player, scores: Sequence[Episodes]) -> str:
    """Return SOURCE.md: who made the weights and how, the score, the learning curve.

    Args:
        scores: episodes of the score, and where the policy is judged in other games, episodes of
            these.
    """
    trained = player.trained
    with trained.curve.open(newline="") as file:
        rows = [[row[0], row[1], row[2], row[3], row[5]] for row in csv.reader(file)][1:]
    repeats = recipe.env.gate_kwargs.get("repeat_action_probability", 0.0)
    chance = f"sticky actions with a chance of {repeats}" if repeats else "no sticky actions"
    titles = ("no sticky actions", f"{chance}, as in training and at the gate")
    frames = recipe.env.kwargs.get("max_num_frames_per_episode", LONGEST_GAME)
    played = [_score_row(title, episodes) for title, episodes in zip(titles, scores, strict=False)]
    return f"""{_head(recipe, player, float(rows[-1][4]))}
## Score

{len(scores[0].returns)} whole games (cut off after {frames:,} frames), true points, 0 to 30 frames
of waiting before each \
(seeds {SCORE_SEED:_} to {SCORE_SEED + len(scores[0].returns) - 1:_}), the likeliest action in each
step. \
Random play: {recipe.gate.random_return:.2f}.

| games | mean return | standard deviation | worst | 5 % quantile | median | steps a game |
|---|---:|---:|---:|---:|---:|---:|
{chr(10).join(played)}

Without sticky actions game and player are deterministic: only the frames of waiting tell two games
apart, so there are some thirty different games, and one other action makes another game of each.

## Learning curve

{trained.checkpoint_episodes} games at each checkpoint with {chance}, cut off after
{SELECTION_LENGTH:,} steps.

| steps | mean return | standard deviation | steps a game | cpu s |
|---:|---:|---:|---:|---:|
{chr(10).join("| " + " | ".join(row) + " |" for row in rows)}

## Observations

`calibration.npz` and `heldout.npz` hold `obs`, uint8 [n, 4, 84, 84] (channels first: the network's
own order, the newest frame last), and `episode`, the number of the game each is from. They come
from games of this policy with {chance}. The two files share none.
"""


def _head(recipe: Recipe, player: Player, cpu_s: float) -> str:
    """Return who made the weights, and how."""
    packages = ", ".join(
        f"{name} {version(name)}"
        for name in ("stable-baselines3", "torch", "ale-py", "gymnasium", "numpy")
    )
    return f"""# {recipe.name}

{recipe.task}

Trained by the quarl project from `recipe.toml` in this folder, seed {recipe.train.seed},
{player.trained.steps:,} steps of four frames in {recipe.train.envs} parallel games,
{cpu_s:,.0f} s of one core ({platform.machine()}).
The licence is quarl's own.
Packages: python {platform.python_version()}, {packages}.

{player.story}

The weights are those with the best mean return at a checkpoint, on games kept apart for choosing.
They are saved as Stable-Baselines3 saves them, without the optimiser's moments:
`stable_baselines3.{recipe.algorithm}.load("policy.zip")` loads them.
Again: `quarl train FOLDER`, with this folder (writes to `runs/{recipe.name}/policy/{recipe.name}`).
"""


def _score_row(title: str, played: Episodes) -> str:
    worst, low, median = np.quantile(played.returns, (0.0, 0.05, 0.5))
    spread = (
        f"{played.returns.mean():.2f} | {played.returns.std():.2f} | {worst:.0f} | "
        f"{low:.0f} | {median:.0f}"
    )
    return f"| {title} | {spread} | {played.lengths.mean():,.0f} |"
