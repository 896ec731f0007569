"""An environment of a few steps: one point for each step whose action is the sign of the first
value.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import register, registry

STEPS = 10


class Short(gymnasium.Env[Any, Any]):
    """Two observed values, two actions, `steps` steps. `how` is what it does wrong, at step 3."""

    metadata: dict[str, Any] = {"render_fps": 20}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, steps: int = STEPS) -> None:
        self._steps, self._step = steps, 0
        self._obs = np.zeros(2, np.float32)

    def _draw(self) -> Any:
        self._obs = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self._obs

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return self._draw(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float((self._obs[0] > 0) == bool(action))
        self._step += 1
        return self._draw(), reward, self._step == self._steps, False, {}


if "Short-v0" not in registry:
    register(
        id="Short-v0", entry_point="tests.support.short_env:Short", max_episode_steps=2 * STEPS
    )
