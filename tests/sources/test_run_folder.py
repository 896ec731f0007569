"""A run of RL Baselines3 Zoo is a source: agent, environment and normaliser are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import InputError
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions
from quarl.sources.run_folder import RunFolder, find_run
from quarl.sources.source import open_source
from tests.conftest import need

ARGS = """!!python/object/apply:collections.OrderedDict
- - - algo
    - a2c
  - - env
    - Pendulum-v1
  - - env_kwargs
    - null
"""
CONFIG = """!!python/object/apply:collections.OrderedDict
- - - n_timesteps
    - 50000.0
  - - normalize
    - true
  - - policy
    - MlpPolicy
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder as the zoo writes it, with an agent that has learned for a moment."""
    need("stable_baselines3")
    import gymnasium
    from stable_baselines3 import A2C
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    folder = tmp_path_factory.mktemp("zoo") / "Pendulum-v1_1"
    home = folder / "Pendulum-v1"
    home.mkdir(parents=True)
    env = VecNormalize(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]))
    agent: Any = A2C("MlpPolicy", env, n_steps=16, seed=1, device="cpu")
    agent.learn(32)
    agent.save(folder / "Pendulum-v1.zip")
    env.save(str(home / "vecnormalize.pkl"))
    (home / "args.yml").write_text(ARGS)
    (home / "config.yml").write_text(CONFIG)
    return folder


def test_a_run_says_its_agent_environment_and_normaliser(trained: Path) -> None:
    source = open_source(str(trained), ImportOptions(), None)
    assert source.file == trained / "Pendulum-v1.zip"
    assert source.env == EnvSpec("Pendulum-v1")
    policy = source.policy
    assert isinstance(policy, Policy)
    assert policy.contract.observation.normalizer is not None
    assert "normaliser: Pendulum-v1/vecnormalize.pkl" in policy.contract.stated
    need("stable_baselines3")
    from stable_baselines3 import A2C

    obs = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    agent = A2C.load(trained / "Pendulum-v1.zip", device="cpu")
    seen = policy.contract.observation.normalizer.apply(obs).astype(np.float32)
    wanted, _ = agent.predict(seen, deterministic=True)
    np.testing.assert_allclose(policy.act(obs), wanted, atol=1e-5)


def test_the_best_agent_goes_first(trained: Path, tmp_path: Path) -> None:
    best = trained / "best_model.zip"
    best.write_bytes((trained / "Pendulum-v1.zip").read_bytes())
    run = find_run(trained)
    assert run is not None
    assert run.agent == best
    best.unlink()


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("frame_stack", "4", r"frame_stack 4.*--env my_package"),
        ("env_wrapper", "- my.wrappers.Still", r"my\.wrappers\.Still.*--env my_package"),
    ],
)
def test_wrappers_of_a_run_are_named(trained: Path, setting: str, value: str, words: str) -> None:
    config = trained / "Pendulum-v1" / "config.yml"
    config.write_text(
        f"{CONFIG}  - - {setting}\n    {value if value[0] == '-' else '- ' + value}\n"
    )
    try:
        with pytest.raises(InputError, match=words) as caught:
            open_source(str(trained), ImportOptions(), None)
        assert "give the zip instead of its folder" in str(caught.value)
        alone = next(trained.glob("*.zip"))
        assert open_source(str(alone), ImportOptions(no_normalizer=True), None).env is None
        given = EnvSpec("Pendulum-v1")
        assert open_source(str(trained), ImportOptions(), given).env == given
    finally:
        config.write_text(CONFIG)


def test_a_run_of_a_game_names_the_preprocessed_one() -> None:
    wrapper = "stable_baselines3.common.atari_wrappers.AtariWrapper"
    run = RunFolder(Path("agent.zip"), "SpaceInvadersNoFrameskip-v4", None, (wrapper,), 4)
    with pytest.raises(InputError, match=r"quarl/Atari-v0 --env-arg game=space_invaders"):
        run.check_env(None)


def test_a_folder_of_something_else_is_no_run(tmp_path: Path) -> None:
    assert find_run(tmp_path) is None
    (tmp_path / "Env-v0").mkdir()
    (tmp_path / "Env-v0" / "args.yml").write_text(ARGS)
    with pytest.raises(InputError, match="without an agent"):
        find_run(tmp_path)
