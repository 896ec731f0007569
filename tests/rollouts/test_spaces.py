"""What an environment says about observations and actions."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from quarl.errors import InputError, UnsupportedError
from quarl.graph.contract import Action, Observation
from quarl.importers.spaces import action_of, observation_of, spaces_of
from quarl.rollouts.vector_env import EnvSpec


def test_an_environment_gives_both() -> None:
    assert spaces_of(EnvSpec("CartPole-v1")) == (
        Observation((4,), "float32", "vector"),
        Action("discrete", 2),
    )
    assert spaces_of(EnvSpec("Pendulum-v1"))[1] == Action("box", 1, (-2.0,), (2.0,))


def test_a_module_before_the_id_is_imported() -> None:
    assert spaces_of(EnvSpec("gymnasium.envs:CartPole-v1"))[1] == Action("discrete", 2)


@pytest.mark.parametrize("env_id", ["NoSuchEnv-v0", "no_such_module:Env-v0", "CartPole-v99"])
def test_an_unknown_environment_is_one_clear_message(env_id: str) -> None:
    with pytest.raises(InputError, match=env_id):
        spaces_of(EnvSpec(env_id))


@pytest.mark.parametrize(
    ("shape", "layout"), [((84, 84, 4), "hwc"), ((4, 84, 84), "chw"), ((210, 160, 3), "hwc")]
)
def test_pixels_keep_the_environments_layout(shape: tuple[int, ...], layout: str) -> None:
    found = observation_of(spaces.Box(0, 255, shape, np.uint8), "x")
    assert (found.shape, found.dtype, found.layout) == (shape, "uint8", layout)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3),
        spaces.Dict({"a": spaces.Discrete(2)}),
        spaces.Box(-1, 1, (2, 3)),
        spaces.Box(0, 1, (84, 84, 3)),
        spaces.Box(0, 100, (84, 84, 3), np.uint8),
    ],
)
def test_other_observations_are_refused(space: spaces.Space[object]) -> None:
    with pytest.raises(UnsupportedError, match=r"x: observations are"):
        observation_of(space, "x")


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=1),
        spaces.MultiDiscrete([2, 2]),
        spaces.MultiBinary(2),
        spaces.Box(-1, 1, (2, 2)),
        spaces.Box(-np.inf, np.inf, (2,)),
        spaces.Box(0, 5, (2,), np.int64),
    ],
)
def test_other_actions_are_refused(space: spaces.Space[object]) -> None:
    with pytest.raises(UnsupportedError, match="x: "):
        action_of(space, "x")
