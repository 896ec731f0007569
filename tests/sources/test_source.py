"""Sources: names and files become policies, and calibration never shares an episode with what is
held out.
"""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from quarl import pipeline
from quarl.errors import InputError
from quarl.graph.contract import Action
from quarl.graph.env_spec import EnvSpec
from quarl.importers import ImportOptions
from quarl.resources import models_dir
from quarl.sources import proof as proof_of
from quarl.sources.observations import observations_of
from quarl.sources.proof import prove
from quarl.sources.source import open_source, recipe_folder
from quarl.stats import seeds
from quarl.workers.processes import beside

LONGEST_RANGE = 1_000_000


def test_no_two_kinds_of_episodes_share_a_seed() -> None:
    first = sorted(value for name, value in vars(seeds).items() if name.endswith("_SEED"))
    assert len(first) >= 5
    assert all(after - before >= LONGEST_RANGE for before, after in itertools.pairwise(first))


def test_a_shipped_policys_own_observations_come_from_different_episodes() -> None:
    source = pipeline.import_source("cartpole_ppo")
    fitted, held = observations_of(source, None)
    assert len(fitted.obs) >= 1500
    assert len(held.obs) >= 900
    assert not {row.tobytes() for row in fitted.obs} & {row.tobytes() for row in held.obs}


def test_a_users_observations_are_split_by_episode(tmp_path: Path) -> None:
    source = pipeline.import_source("cartpole_ppo")
    episode = np.repeat(np.arange(10), 30)
    obs = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    np.savez(tmp_path / "mine.npz", obs=obs, episode=episode)
    fitted, held = observations_of(source, tmp_path / "mine.npz")
    assert len(fitted.obs) + len(held.obs) == 300
    assert set(held.episode.tolist()) == {4, 9}
    assert not set(held.episode.tolist()) & set(fitted.episode.tolist())


def test_observations_without_episodes_are_split_in_blocks(tmp_path: Path) -> None:
    source = pipeline.import_source("cartpole_ppo")
    np.savez(
        tmp_path / "mine.npz", obs=np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    )
    fitted, held = observations_of(source, tmp_path / "mine.npz")
    assert (len(fitted.obs), len(held.obs)) == (240, 60)


def test_a_recipe_is_found_by_name_and_by_folder() -> None:
    assert recipe_folder("nav_ppo") == models_dir() / "nav_ppo"
    assert recipe_folder(str(models_dir() / "nav_ppo")) == models_dir() / "nav_ppo"
    with pytest.raises(InputError, match="nav_ppo"):
        recipe_folder("nothing_here")


@pytest.mark.long
def test_the_algorithm_is_the_recipes_where_the_file_does_not_say() -> None:
    assert pipeline.import_source("nav_dqn_small").algorithm == "DQN"
    file = str(models_dir() / "nav_dqn_small" / "policy.keras")
    options = ImportOptions(action_space=Action("discrete", 25))
    unnamed = pipeline.import_source(file, options)
    assert unnamed.algorithm == "unknown"
    assert f"{unnamed.framework}, algorithm not stated" in repr(unnamed)
    assert pipeline.import_source(str(models_dir() / "nav_ppo" / "policy.zip")).algorithm == "PPO"


@pytest.mark.long
def test_only_quarls_own_files_are_loaded_by_their_framework_unasked(tmp_path: Path) -> None:
    own = pipeline.import_source("cartpole_ppo")
    copied = pipeline.import_source(
        str(shutil.copytree(models_dir() / "cartpole_ppo", tmp_path / "cartpole_ppo"))
    )
    assert own.is_shipped
    assert not copied.is_shipped
    unasked = prove(copied, trust=False)
    assert unasked.max_abs_error is None
    assert "--trust" in unasked.reason


def test_a_framework_that_ends_its_process_proves_nothing_and_ends_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proof_of, "_proof", os._exit)
    monkeypatch.setattr(proof_of, "beside", lambda leave, *_: beside(leave, 7))
    ended = prove(pipeline.import_source("cartpole_ppo"), trust=False)
    assert ended.max_abs_error is None
    assert "exit code 7" in ended.reason


def test_what_a_recipe_states_is_laid_to_the_recipe_and_an_option_to_the_option() -> None:
    stated = open_source("nav_ppo", ImportOptions(), None).policy.contract.stated
    assert stated == (
        "observation: the file and the recipe, quarl.envs:quarl/PointToPoint-v0",
        "action: the file and the recipe, quarl.envs:quarl/PointToPoint-v0",
        "normaliser: the recipe, normalizer.npz",
        "rate: the recipe",
    )
    env = EnvSpec("quarl.envs:quarl/PointToPoint-v0")
    stated = open_source("nav_ppo", ImportOptions(), env).policy.contract.stated
    assert stated[1] == "action: the file and --env quarl.envs:quarl/PointToPoint-v0"
