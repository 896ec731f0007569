"""An environment that fails: always after some steps, or with the seeds it is told."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import register, registry


class Unsteady(gymnasium.Env[Any, Any]):
    """Two observations, two actions; raises at step `fails_at`, or gives NaN."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, fails_at: int = 30, how: str = "raise") -> None:
        self._fails_at, self._how, self._step = fails_at, how, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._step += 1
        if self._step == self._fails_at and self._how == "raise":
            raise RuntimeError("the motor fell off")
        reward = float("nan") if self._step == self._fails_at else 1.0
        return np.full(2, 0.5, np.float32), reward, self._step % 10 == 0, False, {}


if "Unsteady-v0" not in registry:
    register(id="Unsteady-v0", entry_point="tests.support.unsteady_env:Unsteady")
