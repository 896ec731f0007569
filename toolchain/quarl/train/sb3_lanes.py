"""A gymnasium vector environment as Stable-Baselines3 wants it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from quarl.sources.recipe import EnvRecipe
from quarl.train.parallel import make_lanes


class Lanes(VecEnv):
    """A gymnasium vector environment as Stable-Baselines3 wants it: lanes restart by themselves,
    the last observation goes to `info`.
    """

    def __init__(self, env: EnvRecipe, lanes: int) -> None:
        self._envs = make_lanes(env, lanes)
        super().__init__(lanes, self._envs.single_observation_space, self._envs.single_action_space)
        self._actions: NDArray[Any] | None = None
        self._returns = np.zeros(lanes)
        self._lengths = np.zeros(lanes, np.int64)

    def reset(self) -> NDArray[Any]:
        """Start an episode in every lane; with the seeds given to `seed` where there are any."""
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        obs, _ = self._envs.reset(seed=seeds)  # type: ignore[arg-type]  # gymnasium's vector environments take a list
        self._reset_seeds()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        return np.array(obs)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Remember the actions [lanes, ...]."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Return observations, rewards, ends and infos; where an episode ended, the observation is
        the next episode's first.
        """
        obs, rewards, terminated, truncated, info = self._envs.step(self._actions)
        done = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            for lane in np.flatnonzero(done):
                infos[lane]["terminal_observation"] = np.array(obs[lane])
                infos[lane]["TimeLimit.truncated"] = bool(truncated[lane] and not terminated[lane])
                infos[lane]["episode"] = {
                    "r": float(self._returns[lane]),
                    "l": int(self._lengths[lane]),
                    "t": 0.0,
                }
                if "success" in info:
                    infos[lane]["is_success"] = bool(info["success"][lane])
            self._returns[done] = 0.0
            self._lengths[done] = 0
            obs, info = self._envs.reset(options={"reset_mask": done})
        for told, lives in zip(
            infos, info.get("lives", ()), strict=False
        ):  # of the games that go on, or have just begun
            told["lives"] = int(lives)
        return np.array(obs), np.asarray(rewards, np.float32), done, infos

    def close(self) -> None:
        """Close the environment."""
        self._envs.close()

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """Return the attribute once per lane; all lanes share it."""
        return [getattr(self._envs, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(
        self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None
    ) -> None:
        """Set the attribute of all lanes."""
        setattr(self._envs, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *args: Any,
        indices: int | Iterable[int] | None = None,
        **kwargs: Any,
    ) -> list[Any]:
        """Return what the method answers, once per lane."""
        return [getattr(self._envs, method_name)(*args, **kwargs)] * len(
            list(self._get_indices(indices))
        )

    def env_is_wrapped(
        self,
        wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]],
        indices: int | Iterable[int] | None = None,
    ) -> list[bool]:
        """Say that no lane is wrapped; this class reports episodes itself."""
        return [False] * len(list(self._get_indices(indices)))
