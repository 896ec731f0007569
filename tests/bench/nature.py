"""The Nature CNN of the benchmarks: a Stable-Baselines3 zip with random weights, and real Atari
frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_nature_zip(path: Path) -> None:
    """Write an untrained PPO CnnPolicy for six actions on 84x84x4 frames."""
    import gymnasium
    from stable_baselines3 import PPO

    class Frames(gymnasium.Env[Any, Any]):
        observation_space = gymnasium.spaces.Box(0, 255, (84, 84, 4), np.uint8)
        action_space = gymnasium.spaces.Discrete(6)

        def reset(self, **_: Any) -> tuple[NDArray[np.uint8], dict[str, Any]]:
            return np.zeros((84, 84, 4), np.uint8), {}

        def step(self, action: Any) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
            return np.zeros((84, 84, 4), np.uint8), 0.0, True, False, {}

    PPO(
        "CnnPolicy", Frames(), n_steps=16, seed=0, device="cpu", policy_kwargs={"ortho_init": True}
    ).save(path)


def atari_frames(count: int, seed: int) -> NDArray[np.uint8]:
    """Return uint8 [count, 84, 84, 4] of Breakout under random play, spread over a long run."""
    from ale_py.vector_env import AtariVectorEnv

    lanes, every = 20, 12
    env = AtariVectorEnv("breakout", num_envs=lanes, reward_clipping=False, episodic_life=False)
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    kept: list[NDArray[np.uint8]] = []
    while sum(map(len, kept)) < count:
        for _ in range(every):
            obs, *_ = env.step(rng.integers(0, 4, lanes))
        kept.append(np.moveaxis(np.asarray(obs, np.uint8), 1, -1).copy())
    env.close()
    return np.concatenate(kept)[:count]
