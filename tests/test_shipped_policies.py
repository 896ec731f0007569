"""The trained policies in `models/`: each imports exactly, plays as its recipe says, and is held out on games it was not calibrated on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from quarl.actors import source_actor
from quarl.importers import ImportOptions
from quarl.pipeline import prove
from quarl.policy import Policy
from quarl.recipe import Recipe, read_recipe
from quarl.rollouts import run_episodes
from quarl.sources import Source, open_source
from tests.conftest import need

MODELS = Path(__file__).parents[1] / "models"
NAMES = sorted(path.parent.name for path in MODELS.glob("*/SOURCE.md"))
DEVIATIONS = 4.0  # a mean of few episodes stays within this many standard errors
NEEDED = {"stable-baselines3": ("torch", "stable_baselines3"), "sb3-contrib": ("torch", "sb3_contrib"), "keras": ("tensorflow", "keras")}
GAMES, EPISODES = 3, 60  # an Atari game is two thousand steps


def source_of(name: str) -> tuple[Source, Recipe]:
    recipe = read_recipe(MODELS / name)
    if "atari" in recipe.env.id:
        need("ale_py")
    return open_source(name, ImportOptions(), None), recipe


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_policy_imports_exactly(name: str) -> None:
    source, recipe = source_of(name)
    need(*NEEDED[recipe.framework])
    proof = prove(source, trust=True)  # our own files
    assert proof.max_abs_error is not None, proof.reason
    assert proof.max_abs_error <= 1e-5
    assert proof.observations > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_policy_plays_as_its_recipe_says(name: str) -> None:
    source, recipe = source_of(name)
    assert isinstance(source.policy, Policy)
    assert source.env is not None
    assert recipe.score is not None
    count = GAMES if source.policy.contract.observation.is_image else EPISODES
    played = run_episodes(source.env, source_actor(source.policy), range(recipe.score.seed, recipe.score.seed + count))
    allowed = DEVIATIONS * recipe.score.std_return / math.sqrt(count) + 1e-6
    assert played.returns.mean() == pytest.approx(recipe.score.mean_return, abs=allowed)
    if recipe.score.success_rate is not None:
        assert played.successes is not None
        rate = recipe.score.success_rate
        assert played.successes.mean() == pytest.approx(rate, abs=DEVIATIONS * math.sqrt(rate * (1 - rate) / count) + 1 / count)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_held_out_is_of_other_episodes_than_the_calibration(name: str) -> None:
    seen = {}
    for part in ("calibration", "heldout"):
        with np.load(MODELS / name / f"{part}.npz") as arrays:
            obs, episode = arrays["obs"], arrays["episode"]
        assert len(obs) == len(episode)
        assert len(np.unique(episode)) >= 10
        seen[part] = {row.tobytes() for row in obs}
    alike = seen["calibration"] & seen["heldout"]
    begin_alike = len(np.unique(episode)) if obs.ndim == 4 else 0  # there are only some thirty first screens of an Atari game
    assert len(alike) <= begin_alike
