"""The DeepMind Control Suite as one flat observation."""

from __future__ import annotations

import numpy as np
import pytest

from quarl.errors import InputError
from quarl.importers.spaces import spaces_of
from quarl.rollouts.foreign_env import EnvSpec, make_gymnasium
from tests.conftest import need

need("dm_control", "shimmy")
ID = "quarl.envs:quarl/DmControl-v0"


@pytest.mark.long
def test_an_episode_is_repeated_by_its_seed() -> None:
    env = make_gymnasium(EnvSpec(ID, {"domain": "cartpole", "task": "swingup"}))
    traces = []
    for _ in range(2):
        obs, _ = env.reset(seed=7)
        actions = [np.array([np.sin(step)], np.float32) for step in range(20)]
        traces.append(np.stack([obs, *(env.step(action)[0] for action in actions)]))
    assert np.array_equal(*traces)
    assert traces[0].dtype == np.float32


def test_spaces_are_those_of_a_policy() -> None:
    observation, action = spaces_of(EnvSpec(ID, {"domain": "cheetah", "task": "run"}))
    assert (observation.shape, observation.dtype) == ((17,), "float32")
    assert (action.kind, action.count, set(action.low), set(action.high)) == (
        *("box", 6, {-1.0}, {1.0}),
    )


@pytest.mark.parametrize(
    ("domain", "task", "words"),
    [("cartpole", "fly", "balance, balance_sparse"), ("cat", "sleep", "acrobot, ball_in_cup")],
)
def test_an_unknown_task_names_those_there_are(domain: str, task: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        spaces_of(EnvSpec(ID, {"domain": domain, "task": task}))
