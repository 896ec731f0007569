"""The files of a trained policy's folder that are the same for every framework."""

from __future__ import annotations

import csv
import platform
import re
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarl.bundle.policy_file import quant_policy_bytes
from quarl.files.npz import npz_bytes
from quarl.graph.contract import Contract, Normalizer
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers import ImportOptions, read_policy
from quarl.rollouts.collect import Observations
from quarl.rollouts.episodes import Episodes
from quarl.sources.recipe import Recipe, ScoreRecipe
from quarl.sources.source import INTEGERS_FILE
from quarl.train.trained import CURVE_FIELDS, Trained

_PACKAGES = {
    "stable-baselines3": ("stable-baselines3", "torch"),
    "sb3-contrib": ("sb3-contrib", "stable-baselines3", "torch"),
    "keras": ("keras", "tensorflow-cpu"),
}


def write_observations(path: Path, observations: Observations) -> None:
    """Write the `.npz` with `obs` [n, ...], in raw units of the environment, and `episode` int32
    [n], the episode each is from.
    """
    path.write_bytes(
        npz_bytes({"obs": observations.obs, "episode": observations.episode.astype(np.int32)})
    )


def write_normalizer(path: Path, normalizer: Normalizer) -> None:
    """Write the `.npz` that `quarl import --obs-norm` reads."""
    statistics = {
        "mean": normalizer.mean,
        "var": normalizer.var,
        "epsilon": normalizer.epsilon,
        "clip_obs": normalizer.clip_obs,
    }
    path.write_bytes(
        npz_bytes({name: np.array(value, np.float64) for name, value in statistics.items()})
    )


def fill_measured(text: str, score: ScoreRecipe, random_return: float) -> str:
    """Return the recipe's text with the [score] table and gate.random_return as measured; all else,
    comments too, stays.
    """
    lines = ["[score]  # of the source policy, without exploration noise; episode i has seed + i"]
    lines += [f"mean_return = {score.mean_return:.4f}", f"std_return = {score.std_return:.4f}"]
    if score.success_rate is not None:
        lines.append(f"success_rate = {score.success_rate:.4f}")
    lines += [f"episodes = {score.episodes}", f"seed = {score.seed:_}", ""]
    without = re.sub(r"^\[score\][^\n]*\n(?:(?!\[)[^\n]*\n)*", "", text, flags=re.MULTILINE)
    before, header, after = without.partition("[gate]")
    filled = re.sub(
        r"^(random_return\s*=\s*)[^\s#]+",
        rf"\g<1>{random_return:.4f}",
        after,
        count=1,
        flags=re.MULTILINE,
    )
    return before + "\n".join(lines) + "\n" + header + filled


def source_page(recipe: Recipe, trained: Trained, tail: NDArray[np.float64]) -> str:
    """Return SOURCE.md: who made the weights and how, the learning curve, the score.

    Args:
        tail: the worst return of the scored episodes and their 1 %, 5 % and 50 % quantiles.
    """
    assert recipe.score is not None
    with trained.curve.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    cpu_s = float(rows[-1][CURVE_FIELDS.index("cpu_s")])
    score = recipe.score
    success = "" if score.success_rate is None else f", {100 * score.success_rate:.1f} % successful"
    return f"""# {recipe.name}

{recipe.task}

Trained by the quarl project from `recipe.toml` in this folder: {recipe.algorithm} of
{recipe.framework}, seed {recipe.train.seed}, \
{trained.steps:,} steps in {recipe.train.envs} parallel environments, {cpu_s:,.0f} s of one core
({platform.machine()}).
The weights are the checkpoint with the best mean return on {trained.checkpoint_episodes} episodes
kept apart for choosing.
{trained.warm_start}The licence is quarl's own.
Packages: {", ".join(_versions(recipe))}.

Again: `quarl train FOLDER`, with this folder (writes to `runs/{recipe.name}/policy/{recipe.name}`).
The same seed gives the same weights on the same machine and versions; elsewhere another policy
that is about as good.

## Score

{score.episodes} episodes without exploration noise, seeds {score.seed:_} to
{score.seed + score.episodes - 1:_}: mean return
{score.mean_return:.2f} (standard deviation {score.std_return:.2f}){success}.
Worst {tail[0]:.2f}, 1 % quantile {tail[1]:.2f}, 5 % quantile {tail[2]:.2f}, median {tail[3]:.2f}.
Random play: {recipe.gate.random_return:.2f}.

## Learning curve

Deterministic play on {trained.checkpoint_episodes} episodes at each checkpoint.

| {" | ".join(CURVE_FIELDS)} |
|{"---:|" * len(CURVE_FIELDS)}
{chr(10).join("| " + " | ".join(row) + " |" for row in rows)}

## Observations

`calibration.npz` and `heldout.npz` hold `obs`, in raw units of the environment, and `episode`, the
number of the episode each is from.
They come from this policy's own episodes; the two files and the score share no episode.
"""


def write_integers(out: Path, recipe: Recipe, trained: Trained, contract: Contract) -> QuantPolicy:
    """Return the integers that were trained, bound to the weights and the contract of the folder,
    written there.

    Args:
        contract: as the environment's spaces say it, which a file of weights may not.
    """
    assert trained.integers is not None
    policy = read_policy(
        out / recipe.source,
        ImportOptions(
            trained.normalizer,
            no_normalizer=trained.normalizer is None,
            action_space=contract.action,
            observation=contract.observation,
            step_hz=recipe.step_hz,
        ),
    )
    integers = replace(
        trained.integers, contract=policy.contract, source_sha256=policy.source_sha256
    )
    (out / INTEGERS_FILE).write_bytes(quant_policy_bytes(integers))
    return integers


def with_integers(page: str, recipe: Recipe, played: Episodes, steps: int) -> str:
    """Return SOURCE.md with what the integers are and how they play, after a training of
    `steps`.
    """
    assert recipe.qat is not None
    qat = recipe.qat
    section = f"""## Integers

Quantisation-aware training: {qat.widths.sentence()}; after {qat.delay_steps(steps):,} steps in
float the actor computed in integers
(step sizes {"learned" if qat.method == "lsq" else "as first measured"}). `{INTEGERS_FILE}` holds
them as they were trained; the weights are the real numbers behind
them. On the episodes of the score the integers' mean return is {played.returns.mean():.2f}
(standard deviation {played.returns.std():.2f}).

"""
    before, header, after = page.partition("## Learning curve")
    return before + section + header + after


def _versions(recipe: Recipe) -> list[str]:
    packages = _PACKAGES.get(recipe.framework, (recipe.framework,))
    if recipe.qat is not None and "torch" not in packages:  # which integers learn in
        packages += ("torch",)
    found = [f"python {platform.python_version()}"]
    for package in (*packages, "gymnasium", "numpy"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found
