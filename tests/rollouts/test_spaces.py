"""What an environment says about observations and actions."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from quarl.errors import InputError, UnsupportedError
from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.env_spec import EnvSpec
from quarl.graph.picture import NamedPart, Picture
from quarl.importers.spaces import action_of, observation_of, spaces_of
from quarl.rollouts.flat_space import flattened
from quarl.rollouts.foreign_env import make_env
from quarl.rollouts.vector_env import check_env


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
        spaces.Text(3),
        spaces.Dict({"eye": spaces.Box(0, 255, (84, 84, 3), np.uint8), "word": spaces.Text(3)}),
        spaces.Dict({}),
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
        spaces.MultiDiscrete([[2, 2], [3, 3]]),
        spaces.MultiDiscrete([2, 2], start=[1, 0]),
        spaces.MultiBinary([2, 2]),
        spaces.Box(-1, 1, (2, 2)),
        spaces.Box(0, 5, (2,), np.int64),
    ],
)
def test_other_actions_are_refused(space: spaces.Space[object]) -> None:
    with pytest.raises(UnsupportedError, match="x: "):
        action_of(space, "x")


@pytest.mark.parametrize(
    ("space", "names"),
    [
        (spaces.Discrete(3, start=1), ("=1", "=2", "=3")),
        (spaces.Box(-1, 1, (2, 2)), ("[0,0]", "[0,1]", "[1,0]", "[1,1]")),
        (spaces.MultiBinary(2), ("[0]", "[1]")),
        (spaces.MultiDiscrete([2, 3]), ("[0]=0", "[0]=1", "[1]=0", "[1]=1", "[1]=2")),
        (
            spaces.Dict({"z": spaces.Box(-1, 1, (2,)), "a": spaces.Discrete(2)}),
            ("a=0", "a=1", "z[0]", "z[1]"),
        ),
        (
            spaces.Tuple([spaces.Box(-1, 1, (1,)), spaces.Dict({"b": spaces.Discrete(2)})]),
            ("0[0]", "1.b=0", "1.b=1"),
        ),
    ],
)
def test_what_is_not_one_vector_is_laid_out_as_one(
    space: spaces.Space[object], names: tuple[str, ...]
) -> None:
    found = observation_of(space, "x")
    assert (found.shape, found.names) == ((len(names),), names)
    space.seed(0)
    vector = flattened(space, space.sample())
    assert (vector.shape, vector.dtype) == (found.shape, np.float32)


@pytest.mark.parametrize("shape", [(6, 7, 3), (3, 6, 7)])
def test_pictures_in_a_dict_are_laid_out_channels_last(shape: tuple[int, ...]) -> None:
    eye = spaces.Box(0, 255, shape, np.uint8)
    space = spaces.Dict({"eye": eye, "gear": spaces.Discrete(2), "a": spaces.Box(-1, 1, (2, 2))})
    found = observation_of(space, "x")
    assert (found.shape, found.names, found.is_image) == ((4 + 126 + 2,), (), False)
    assert found.pictures == (Picture(4, 6, 7, 3),)
    assert found.parts == (NamedPart("a", 4), NamedPart("eye", 126), NamedPart("gear", 2))
    space.seed(0)
    sample = space.sample()
    pixels = flattened(space, sample)[found.pictures[0].place].reshape(6, 7, 3)
    last = sample["eye"].transpose(1, 2, 0) if shape[0] == 3 else sample["eye"]
    np.testing.assert_array_equal(pixels, last)


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (spaces.Discrete(3, start=-1), Action("discrete", 3, start=-1)),
        (spaces.MultiDiscrete([3, 2]), Action("multi_discrete", 5, counts=(3, 2))),
        (spaces.MultiBinary(2), Action("multi_discrete", 4, counts=(2, 2))),
        (
            spaces.Box(-np.inf, np.inf, (1,)),
            Action("box", 1, (-np.inf,), (np.inf,)),
        ),
    ],
)
def test_several_choices_and_unbounded_boxes_are_actions(
    space: spaces.Space[object], action: Action
) -> None:
    assert action_of(space, "x") == action


def test_an_environment_with_a_choice_as_observation_plays_as_a_vector() -> None:
    env = EnvSpec("FrozenLake-v1")
    observation, action = spaces_of(env)
    assert (observation.shape, action) == ((16,), Action("discrete", 4))
    check_env(env, Contract(observation, action))
    made = make_env(env)
    first = made.reset(0)
    assert first.tolist() == [1.0] + [0.0] * 15
    assert made.step(1)[0].sum() == 1
    made.close()


def test_several_choices_take_the_largest_of_each_part() -> None:
    action = Action("multi_discrete", 5, counts=(3, 2))
    outputs = np.array([[0, 2, 1, 5, 5], [3, 0, 0, -2, -1]], np.float32)
    assert action.decode(outputs).tolist() == [[1, 0], [0, 1]]
    other = np.array([[9, 2, 1, 5, 5], [3, 0, 0, -1, -2]], np.float32)
    assert action.losses(outputs, other).tolist() == [2.0, 1.0]
    assert Action("discrete", 3, start=-1).decode(outputs[:, :3]).tolist() == [0, -1]
