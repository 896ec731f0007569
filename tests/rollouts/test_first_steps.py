"""What is wrong with an environment is said in one sentence, before any work."""

from __future__ import annotations

import time
from itertools import cycle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import register, registry

from quarl import pipeline
from quarl.errors import InputError
from quarl.graph.contract import Action, Contract
from quarl.graph.env_spec import EnvSpec
from quarl.rollouts.first_steps import _random_action, check_first_steps

MODULE = "tests.rollouts.test_first_steps"


class Faulty(gymnasium.Env[Any, Any]):
    """Four observations and two actions as CartPole has, with one fault."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, fault: str = "none") -> None:
        self._fault, self._count = fault, 0

    def _obs(self) -> Any:
        bad = self._fault == "nan observation" and self._count == 3
        drawn = np.random.random() if "other steps" in self._fault else self.np_random.random()  # noqa: NPY002
        return np.array([drawn, np.nan if bad else 0, 0, self._count], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=None if self._fault == "other start" else seed)
        self._count = 0
        return self._obs(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._count += 1
        reward = float("inf") if self._fault == "reward" and self._count == 2 else 1.0
        ended = self._count >= 30 and "no end" not in self._fault
        if self._fault == "other end":
            ended = next(ENDS)
        return self._obs(), reward, ended, False, {}


ENDS = cycle([False, True, False, False, True])  # episodes of two steps and of three, in turns

if "Faulty-v0" not in registry:
    register(id="Faulty-v0", entry_point=f"{MODULE}:Faulty")


@pytest.fixture(scope="module")
def contract() -> Contract:
    return pipeline.import_source("cartpole_ppo").policy.contract


def faulty(fault: str) -> EnvSpec:
    return EnvSpec(f"{MODULE}:Faulty-v0", {"fault": fault})


def test_a_sound_environment_is_taken(contract: Contract) -> None:
    check_first_steps(faulty("none"), contract)
    check_first_steps(EnvSpec("CartPole-v1"), contract)


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("other start", "part at step 0: draw every random number from self.np_random"),
        ("other steps", "part at step 0"),
        ("other steps, no end", "reset.seed=.... seeds.*register it with max_episode_steps"),
        ("other end", "part at step"),
        ("nan observation", r"observation \[1\] is nan at step 3"),
        ("reward", "the reward is inf at step 2"),
        ("no end", r"goes on after 100,000 steps: register it with max_episode_steps"),
    ],
)
def test_each_fault_is_one_sentence(contract: Contract, fault: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        check_first_steps(faulty(fault), contract, lambda: 0.0)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(MODULE)


def test_one_that_is_slow_to_end_is_not_waited_for(contract: Contract) -> None:
    ticks = iter(range(1000))
    began = time.perf_counter()
    check_first_steps(faulty("no end"), contract, lambda: float(next(ticks)))
    assert time.perf_counter() - began < 20


@pytest.mark.long
@pytest.mark.parametrize("name", ["nav_ppo", "pendulum_sac", "nav_dqn_small"])
def test_the_environments_of_shipped_policies_are_sound(name: str) -> None:
    source = pipeline.import_source(name)
    assert source.env is not None
    check_first_steps(source.env, source.policy.contract)


def test_a_box_without_bounds_is_tried_near_zero() -> None:
    action = Action("box", 3, (-np.inf,) * 3, (np.inf,) * 3)
    drawn = _random_action(action, np.random.default_rng(0))
    assert drawn.shape == (3,)
    assert np.abs(drawn).max() <= 1
