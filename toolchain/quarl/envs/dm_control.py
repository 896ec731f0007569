"""`quarl/DmControl-v0`: a task of the DeepMind Control Suite with one flat observation.

In: domain and task, as the suite names them ("cartpole", "balance"). Out: a gymnasium environment,
float32 observations in the suite's own order, made by shimmy. 1,000 steps, rewards from 0 to 1.
Needs the extra `dm_control`.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box


def make(domain: str = "cartpole", task: str = "balance", **kwargs: Any) -> Any:
    """Return the environment.

    Raises:
        DependencyNotInstalled: shimmy or dm_control is missing.
    """
    os.environ.setdefault("MUJOCO_GL", "disable")  # nothing is drawn
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from dm_control import suite
            from shimmy.dm_control_compatibility import DmControlCompatibilityV0
    except ImportError as error:
        raise gymnasium.error.DependencyNotInstalled(
            f"{error.name or 'dm_control'}: pip install 'quarl[dm_control]'"
        ) from error
    known = {(name, other) for name, other in suite.ALL_TASKS}
    if (domain, task) not in known:
        tasks = sorted(other for name, other in known if name == domain)
        allowed = ", ".join(tasks) if tasks else ", ".join(sorted({name for name, _ in known}))
        raise ValueError(f'no task "{task}" of domain "{domain}"; there are: {allowed}')
    env = DmControlCompatibilityV0(suite.load(domain, task), **kwargs)
    return FlatFloat32(gymnasium.wrappers.FlattenObservation(env))


class FlatFloat32(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Observations and actions in float32; the suite counts its 1,000 steps itself."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        shape, actions = env.observation_space.shape, env.action_space
        assert shape is not None
        assert isinstance(actions, Box)
        self.observation_space = Box(-np.inf, np.inf, shape, np.float32)
        self._low, self._high = actions.low, actions.high
        self.action_space = Box(
            actions.low.astype(np.float32), actions.high.astype(np.float32), dtype=np.float32
        )

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        obs, info = self.env.reset(**kwargs)
        return np.asarray(obs, np.float32), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step; the action is clipped to its bounds in the suite's own precision."""
        exact = np.clip(np.asarray(action, np.float64), self._low, self._high)
        obs, reward, terminated, truncated, info = self.env.step(exact)
        return np.asarray(obs, np.float32), reward, terminated, truncated, info
