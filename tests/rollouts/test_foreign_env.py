"""What an environment of a stranger answers is checked: nothing is broadcast, nothing is guessed,
and whatever it raises names it.
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
import pytest

from quarl.errors import InputError
from quarl.graph.env_spec import EnvElsewhere, EnvSpec
from quarl.rollouts.episodes import run_episodes
from quarl.rollouts.foreign_env import blame, holds_nothing_open, make_env, reason_of
from quarl.rollouts.vector_env import open_lanes
from tests.support.hostile_envs import ANSWERS

ENV = "tests.support.hostile_envs:Hostile-v0"
NOT_FINITE = {"reset: NaN", "step: NaN"}  # a policy's business: they have the right shape and type


@pytest.fixture(autouse=True)
def short_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quarl.rollouts.episodes.LONGEST_EPISODE_STEPS", 200)


def play(**kwargs: Any) -> Any:
    def actor(obs: Any) -> Any:
        return np.zeros(len(obs), np.int64)

    return run_episodes(EnvSpec(ENV, kwargs), actor, range(4), lanes=2)


def test_an_honest_environment_plays() -> None:
    assert play().lengths.tolist() == play(answer="nothing").lengths.tolist()


@pytest.mark.parametrize("answer", sorted(set(ANSWERS) - NOT_FINITE))
def test_an_answer_of_another_shape_or_type_is_refused_and_named(answer: str) -> None:
    with pytest.raises(InputError, match="Hostile-v0") as refused:
        play(answer=answer)
    assert "seed" in str(refused.value)


@pytest.mark.parametrize("when", ["make", "reset", "step", "close"])
@pytest.mark.parametrize("act", ["leave", "leave with success", "custom"])
def test_an_environment_that_leaves_is_refused_and_named(act: str, when: str) -> None:
    with pytest.raises(InputError, match="Hostile-v0 failed"):
        play(act=act, when=when)


def test_an_endless_episode_is_refused_and_named() -> None:
    with pytest.raises(InputError, match="goes on after 200 steps"):
        play(endless=True)


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        ([0.5, 0, 0, 0], True),
        (np.zeros(4), True),
        (np.zeros(4, np.int64), True),
        (np.zeros((4, 1), np.float32), False),
        (np.zeros(4, np.complex64), False),
        (np.zeros(4, object), False),
        (np.zeros(3, np.float32), False),
        (0.0, False),
        ("text", False),
        ({"obs": 1}, False),
        ([[0.5, 0], [0]], False),
    ],
)
def test_an_observation_is_cast_where_nothing_is_lost_and_never_broadcast(
    made: Any, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make_env(EnvSpec("CartPole-v1"))
    monkeypatch.setattr(env._env, "reset", lambda seed: (made, {}), raising=False)
    if kept:
        assert env.reset(0).shape == (4,)
        return
    with pytest.raises(InputError, match="CartPole-v1"):
        env.reset(0)


@pytest.mark.parametrize("end", [True, np.True_, 1, np.array(True), np.int64(1), 1.0])
def test_an_end_may_be_any_kind_of_true(end: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_env(EnvSpec("CartPole-v1"))
    obs = env.reset(0)
    for info, success in (({}, None), ({"success": end}, True), ({"is_success": False}, False)):
        monkeypatch.setattr(
            env._env, "step", lambda a, i=info: (obs, 1, end, False, i), raising=False
        )
        assert env.step(0)[1:] == (1.0, True, success)


def test_a_success_that_is_neither_true_nor_false_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = make_env(EnvSpec("CartPole-v1"))
    obs = env.reset(0)
    answer = obs, 1.0, True, False, {"success": "no"}
    monkeypatch.setattr(env._env, "step", lambda action: answer, raising=False)
    with pytest.raises(InputError, match="true or false as success"):
        env.step(0)


def test_a_space_too_large_to_play_is_refused_before_memory_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = make_env(EnvSpec("CartPole-v1"))
    env.observation_space = gymnasium.spaces.Box(0, 1, ())
    monkeypatch.setattr(env.observation_space, "_shape", (1 << 20, 1 << 20))
    with pytest.raises(InputError, match="at most 16,777,216 values"):
        _ = env.shape


class Rows(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """A vector form that answers properly until it is told otherwise."""

    answer: Any = None

    def __init__(self, num_envs: int = 1, **kwargs: Any) -> None:
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.DISABLED}
        single = gymnasium.make("CartPole-v1")
        self.single_observation_space = single.observation_space
        self.single_action_space = single.action_space
        space = gymnasium.vector.utils.batch_space
        self.observation_space = space(single.observation_space, num_envs)
        self.action_space = space(single.action_space, num_envs)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return np.array([[s] * 4 for s in seed], np.float32), {}

    def step(self, actions: Any) -> Any:
        if Rows.answer is not None:
            return Rows.answer
        count = self.num_envs
        seeds = np.zeros((count, 4), np.float32)
        return seeds, np.ones(count), np.zeros(count, bool), np.zeros(count, bool), {}


gymnasium.register(
    "Rows-v0", vector_entry_point=Rows, entry_point="gymnasium.envs.classic_control:CartPoleEnv"
)
GOOD = (np.zeros((2, 4)), np.ones(2), np.zeros(2, bool), np.zeros(2, bool), {})


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, np.zeros(4)), (0, np.zeros((2, 4, 1))), (0, 0.0), (0, np.zeros((2, 4), object)),
        (1, 1.0), (1, np.ones((2, 1))), (1, np.array(["1", "1"])),
        (2, False), (2, np.zeros(2)), (3, np.zeros(3, bool)), (4, None),
    ],
)  # fmt: skip
def test_rows_of_another_shape_or_type_are_refused(
    place: int, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quarl.rollouts.vector_env._lanes_are_independent", lambda env: True)
    lanes = open_lanes(EnvSpec("Rows-v0"), 2)
    assert type(lanes).__name__ == "_VectorLanes"
    lanes.start([0, 1], [1, 2])
    lanes.step(np.array([0, 1]), np.zeros(2, np.int64))
    monkeypatch.setattr(Rows, "answer", (*GOOD[:place], value, *GOOD[place + 1 :]))
    with pytest.raises(InputError, match="Rows-v0"):
        lanes.step(np.array([0, 1]), np.zeros(2, np.int64))


class _UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_an_error_that_cannot_be_shown_is_named_by_its_kind() -> None:
    assert reason_of(_UnspeakableError()) == "_UnspeakableError"
    assert len(reason_of(ValueError("x" * 10_000))) <= 400
    with (
        pytest.raises(InputError, match="_UnspeakableError"),
        blame(EnvSpec("X-v0"), lambda: "in step"),
    ):
        raise _UnspeakableError


@pytest.mark.parametrize(
    ("env", "holds_nothing"),
    [
        (EnvSpec("CartPole-v1"), True),
        (EnvSpec("quarl/PointToPoint-v0"), True),
        (EnvSpec("CartPole-v1", wrappers=("gymnasium.wrappers:ClipAction",)), False),
        (EnvSpec("tests.rollouts.test_episodes:CountDown-v0"), False),
        (EnvElsewhere("CartPole-v1", python=sys.executable), False),
        (EnvSpec("no.such.module:Thing-v0"), False),
    ],
    ids=repr,
)
def test_only_environments_known_to_hold_nothing_open_are_played_in_a_copy(
    env: EnvSpec, holds_nothing: bool
) -> None:
    assert holds_nothing_open(env) is holds_nothing
