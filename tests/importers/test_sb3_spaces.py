"""Spaces of Stable-Baselines3 policies: what predict() does with an observation, the import
does.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from quarl.errors import InputError
from quarl.graph.picture import Picture
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions
from quarl.importers import read_policy as ask_policy
from quarl.importers.proofs import ImportProof, prove_import
from quarl.rollouts.flat_space import flat_names, flattened, is_flattened
from tests.conftest import need
from tests.support.answers import answering

need("stable_baselines3", "sb3_contrib", "torch")

import sb3_contrib as contrib  # noqa: E402
import stable_baselines3 as sb3  # noqa: E402
import torch  # noqa: E402

read_policy = answering(ask_policy)
VECTOR = spaces.Box(-1.0, 1.0, (5,), np.float32)
CHOICES = spaces.Discrete(4)
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(7),
    "multi_discrete": spaces.MultiDiscrete([3, 2, 4]),
    "multi_binary": spaces.MultiBinary(5),
    "window": spaces.Box(-1, 1, (4, 3), np.float32),
    "dict": spaces.Dict({"z": VECTOR, "a": spaces.Discrete(3), "m": spaces.MultiBinary(2)}),
    "dict_with_picture": spaces.Dict(
        {"z": VECTOR, "eye": spaces.Box(0, 255, (37, 36, 3), np.uint8), "a": spaces.Discrete(3)}
    ),
    "dict_of_pictures": spaces.Dict(
        {
            "left": spaces.Box(0, 255, (36, 37, 1), np.uint8),
            "right": spaces.Box(0, 255, (36, 36, 4), np.uint8),
        }
    ),
    "dict_of_channels": spaces.Dict(
        {"eye": spaces.Box(0, 255, (1, 36, 37), np.uint8), "z": VECTOR},
    ),
    "dict_of_windows": spaces.Dict({"lidar": spaces.Box(-1, 1, (2, 3)), "goal": VECTOR}),
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "multi_discrete": spaces.MultiDiscrete([3, 3, 2]),
    "multi_binary": spaces.MultiBinary(4),
    "start": spaces.Discrete(3, start=-1),
}


class Noise(gym.Env[Any, Any]):
    """Random observations; only the spaces matter."""

    def __init__(self, observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation, action

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.observation_space.sample(), 1.0, self.steps >= 20, False, {}

    def action_masks(self) -> Any:
        return np.ones(4, bool)


def saved(path: Path, kind: Any, policy: str, env: Noise, **more: Any) -> Any:
    model = kind(policy, env, device="cpu", seed=0, n_steps=16, **more)
    model.save(path)
    return model


def assert_acts_like(model: Any, policy: Policy, space: spaces.Space[Any]) -> None:
    """Compare the actions of both on observations of the space."""
    space.seed(3)
    samples = [space.sample() for _ in range(40)]
    obs = np.stack([flattened(space, s) if is_flattened(space) else s for s in samples])
    wanted = np.stack([model.predict(sample, deterministic=True)[0] for sample in samples])
    np.testing.assert_allclose(policy.act(obs).reshape(wanted.shape), wanted, atol=1e-5)


def proven(path: Path) -> Policy:
    policy = read_policy(path)
    assert isinstance(policy, Policy)
    proof = prove_import(path, policy, trust=True)
    assert isinstance(proof, ImportProof)
    assert proof.holds
    return policy


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_observations_are_laid_out_as_the_framework_does(name: str, tmp_path: Path) -> None:
    space = OBSERVATIONS[name]
    kind = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    model = saved(tmp_path / "policy.zip", sb3.PPO, kind, Noise(space, CHOICES))
    policy = proven(tmp_path / "policy.zip")
    assert policy.contract.observation.names == flat_names(space)
    assert_acts_like(model, policy, space)


def test_a_picture_at_another_place_than_the_files_is_refused(tmp_path: Path) -> None:
    space = OBSERVATIONS["dict_with_picture"]
    saved(tmp_path / "policy.zip", sb3.PPO, "MultiInputPolicy", Noise(space, CHOICES))
    found = proven(tmp_path / "policy.zip").contract.observation
    assert found.pictures == (Picture(3, 37, 36, 3),)
    other = replace(found, pictures=(Picture(5, 37, 36, 3),))
    with pytest.raises(InputError, match=r"picture of \(37, 36, 3\) from value 3 on.*value 5 on"):
        read_policy(tmp_path / "policy.zip", ImportOptions(observation=other))


@pytest.mark.parametrize("name", ACTIONS)
def test_actions_are_those_of_the_framework(name: str, tmp_path: Path) -> None:
    model = saved(tmp_path / "policy.zip", sb3.PPO, "MlpPolicy", Noise(VECTOR, ACTIONS[name]))
    assert_acts_like(model, proven(tmp_path / "policy.zip"), VECTOR)


def test_maskable_ppo_is_ppo_with_every_action_allowed(tmp_path: Path) -> None:
    env = Noise(VECTOR, CHOICES)
    model = saved(tmp_path / "policy.zip", contrib.MaskablePPO, "MlpPolicy", env)
    policy = proven(tmp_path / "policy.zip")
    assert "action masks: none, every action is allowed" in policy.contract.stated
    assert_acts_like(model, policy, VECTOR)


def test_batch_renormalisation_folds(tmp_path: Path) -> None:
    env = Noise(VECTOR, spaces.Box(-1.0, 1.0, (2,), np.float32))
    model = contrib.CrossQ("MlpPolicy", env, learning_starts=10, device="cpu", seed=0).learn(60)
    model.save(tmp_path / "policy.zip")
    policy = proven(tmp_path / "policy.zip")
    assert_acts_like(model, policy, VECTOR)
    assert len(policy.nodes) == 6  # three layers, two ReLUs, one tanh: nothing of the norms is left


@pytest.mark.parametrize(
    "function", ["SiLU", "GELU", "LeakyReLU", "SELU", "Softplus", "Mish", "Hardswish", "Hardtanh"]
)
def test_activations_are_those_of_torch(function: str, tmp_path: Path) -> None:
    kwargs = {"activation_fn": getattr(torch.nn, function)}
    env = Noise(VECTOR, CHOICES)
    model = saved(tmp_path / "policy.zip", sb3.PPO, "MlpPolicy", env, policy_kwargs=kwargs)
    assert_acts_like(model, proven(tmp_path / "policy.zip"), VECTOR)


@pytest.mark.parametrize(
    "name", ["vecnormalize.pkl", "vec_normalize.pkl", "VecNormalize-env.pkl", "my_vec_norm.pkl"]
)
def test_statistics_beside_the_zip_are_noticed(name: str, tmp_path: Path) -> None:
    box = spaces.Box(-1.0, 1.0, (2,), np.float32)
    sb3.SAC("MlpPolicy", Noise(VECTOR, box), buffer_size=1).save(tmp_path / "policy.zip")
    read_policy(tmp_path / "policy.zip")
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=f"{name} lies beside it.*--obs-norm"):
        read_policy(tmp_path / "policy.zip")
    read_policy(tmp_path / "policy.zip", ImportOptions(no_normalizer=True))
