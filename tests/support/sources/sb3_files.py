"""Agents of Stable-Baselines3 and sb3-contrib, saved by themselves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from quarl.graph.contract import Action
from tests.support.sources.sample import Sample, told

RAW = told(no_normalizer=True)


def spaces_named(text: str) -> Any:
    """Return a space by a short name."""
    from gymnasium import spaces

    vector = spaces.Box(-3, 3, (5,), np.float32)
    return {
        "vector": vector,
        "window": spaces.Box(-3, 3, (4, 3), np.float32),
        "image": spaces.Box(0, 255, (3, 36, 36), np.uint8),
        "choice": spaces.Discrete(4),
        "bits": spaces.MultiBinary(4),
        "dict": spaces.Dict({"speed": vector, "gear": spaces.Discrete(3)}),
        "dict with image": spaces.Dict(
            {"speed": vector, "view": spaces.Box(0, 255, (3, 36, 36), np.uint8)}
        ),
        "Discrete": spaces.Discrete(3),
        "Discrete(start)": spaces.Discrete(3, start=-1),
        "MultiDiscrete": spaces.MultiDiscrete([3, 2]),
        "MultiBinary": spaces.MultiBinary(3),
        "Box": spaces.Box(-2, 2, (2,), np.float32),
    }[text]


def agent(
    name: str, observation: str, action: str, policy: str = "MlpPolicy", **kwargs: Any
) -> Callable[[Path], Path]:
    """Return the maker of an agent's zip; its weights are shaken, nothing is trained."""

    def make(folder: Path) -> Path:
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
        import gymnasium
        import sb3_contrib
        import stable_baselines3
        import torch
        from torch import nn

        class Toy(gymnasium.Env[Any, Any]):
            observation_space = spaces_named(observation)
            action_space = spaces_named(action)

            def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
                super().reset(seed=seed)
                return self.observation_space.sample(), {}

            def step(self, action: Any) -> tuple[Any, float, bool, bool, Any]:
                return self.observation_space.sample(), 0.0, True, False, {}

            def action_masks(self) -> Any:
                return np.ones(getattr(self.action_space, "n", 1), bool)

        torch.set_num_threads(1)
        algorithm = getattr(stable_baselines3, name, None) or getattr(sb3_contrib, name)
        small = {"learning_rate": 0.0}
        if name in ("DQN", "QRDQN", "SAC", "TQC", "TD3", "DDPG", "CrossQ"):
            small["buffer_size"] = 8
        settings = {**small, "seed": 1, "device": "cpu", **kwargs}
        settings["policy_kwargs"] = {
            **({} if name == "ARS" else {"net_arch": [8, 8]}),
            **{key: getattr(nn, value) for key, value in kwargs.get("policy_kwargs", {}).items()},
        }
        made: Any = algorithm(policy, Toy(), **settings)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for key, value in made.policy.state_dict().items():
                if value.is_floating_point():
                    numbers = torch.rand(value.shape, generator=generator) - 0.5
                    fan = value[0].numel() if value.ndim > 1 else 4
                    value.copy_(numbers + 1 if "var" in key else numbers * (12 / fan) ** 0.5)
        path = folder / f"{name.lower()}.zip"
        made.save(path)
        return path

    return make


def sample(operators: str, space: str, make: Callable[[Path], Path], **more: Any) -> Sample:
    return Sample("Stable-Baselines3 .zip", operators, space, make, RAW, trusts=True, **more)


def contrib(operators: str, space: str, make: Callable[[Path], Path], **more: Any) -> Sample:
    return Sample("sb3-contrib .zip", operators, space, make, RAW, trusts=True, **more)


SILU = {"policy_kwargs": {"activation_fn": "SiLU"}}
SB3: tuple[Sample, ...] = (
    sample("PPO, Tanh", "vector, Discrete", agent("PPO", "vector", "Discrete")),
    sample("PPO, SiLU", "vector, Box", agent("PPO", "vector", "Box", **SILU)),
    sample("A2C", "vector, MultiDiscrete", agent("A2C", "vector", "MultiDiscrete")),
    sample("A2C", "vector, MultiBinary", agent("A2C", "vector", "MultiBinary")),
    sample("PPO", "vector, Discrete(start=-1)", agent("PPO", "vector", "Discrete(start)")),
    sample("PPO", "window, Discrete", agent("PPO", "window", "Discrete")),
    sample("PPO", "Discrete, Discrete", agent("PPO", "choice", "Discrete")),
    sample("PPO", "MultiBinary, Discrete", agent("PPO", "bits", "Discrete")),
    sample(
        "PPO, MultiInputPolicy",
        "Dict of vectors, Discrete",
        agent("PPO", "dict", "Discrete", "MultiInputPolicy"),
    ),
    sample(
        "PPO, Nature CNN", "uint8 image, Discrete", agent("PPO", "image", "Discrete", "CnnPolicy")
    ),
    sample(
        "PPO, MultiInputPolicy",
        "Dict with an image, Discrete",
        agent("PPO", "dict with image", "Discrete", "MultiInputPolicy"),
    ),
    sample("DQN", "vector, Discrete", agent("DQN", "vector", "Discrete")),
    sample("SAC", "vector, Box", agent("SAC", "vector", "Box")),
    sample("TD3", "vector, Box", agent("TD3", "vector", "Box")),
    contrib("QR-DQN", "vector, Discrete", agent("QRDQN", "vector", "Discrete")),
    contrib("TQC", "vector, Box", agent("TQC", "vector", "Box")),
    contrib("CrossQ, batch renormalisation", "vector, Box", agent("CrossQ", "vector", "Box")),
    contrib("MaskablePPO", "vector, Discrete", agent("MaskablePPO", "vector", "Discrete")),
)
__all__ = ["SB3", "Action"]
