"""Random play without bounds, and arguments of an environment that no JSON number holds."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.env_spec import EnvSpec, as_made, as_stored
from quarl.rollouts.episodes import random_episodes


class Odd(gymnasium.Env[Any, Any]):
    """Rewards large actions."""

    observation_space = gymnasium.spaces.Box(-10.0, 10.0, (2,), np.float32)

    def __init__(self, seeded: bool = True, length: int = 5, bound: float = 1.0) -> None:
        self.seeded, self.length, self.t = seeded, length, 0
        self.action_space = gymnasium.spaces.Box(-bound, bound, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        self.t = 0
        generator = self.np_random if self.seeded else np.random.default_rng()
        return generator.normal(size=2).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Any]:
        self.t += 1
        is_over = bool(self.length and self.t >= self.length)
        return np.zeros(2, np.float32), float(abs(action).sum()), is_over, False, {}


gymnasium.register("Odd-v0", entry_point=Odd)


def test_random_play_needs_no_bounds() -> None:
    infinite = (float("inf"),) * 2
    contract = Contract(
        Observation((2,), "float32", "vector"),
        Action("box", 2, tuple(-bound for bound in infinite), infinite),
    )
    env = EnvSpec("Odd-v0", {"bound": float("inf")})
    first, again = (random_episodes(env, contract, range(4)).returns for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert 0 < first.min() < first.max() < 50


def test_infinite_arguments_come_back_from_a_file() -> None:
    env = EnvSpec("Odd-v0", {"bound": float("inf"), "more": [1, {"low": float("-inf")}]})
    stored = as_stored(env)
    assert stored is not None
    assert stored.kwargs["bound"] == {"float": "inf"}
    assert as_made(stored) == env
