"""Atari: a lane's game depends on its seed and its actions alone, sticky or not, and a console
follows it.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from quarl.errors import InputError
from quarl.graph.env_spec import EnvSpec, atari_advice
from quarl.rollouts.foreign_env import make_env
from quarl.rollouts.vector_env import open_lanes
from tests.conftest import need

need("ale_py")
pytestmark = pytest.mark.play

from quarl.envs.atari import AtariLanes, Console  # noqa: E402  # only where ale_py is

STICKY = 0.25


@pytest.mark.parametrize("game", ["pong", "breakout"])
def test_a_console_that_is_told_seed_and_actions_scores_what_its_sticky_lane_scores(
    game: str,
) -> None:
    rng = np.random.default_rng(0)
    lanes, console = (
        AtariLanes(game, 1, repeat_action_probability=STICKY),
        Console(game, repeat_action_probability=STICKY),
    )
    points = []
    for seed in range(7, 12):
        _, info = lanes.reset(seed=seed)
        console.start(int(info["episode_frame_number"][0]), seed)
        for _ in range(200):
            action = int(rng.integers(4))
            _, scored, terminated, _, _ = lanes.step(np.array([action]))
            points.append((float(scored[0]), console.step(action)))
            if terminated[0]:
                break
    assert any(scored for scored, _ in points)
    assert all(scored == told for scored, told in points)


def test_a_sticky_game_is_the_same_in_any_company_and_another_for_another_seed() -> None:
    rng = np.random.default_rng(1)
    actions = rng.integers(0, 6, 60)
    seen = []
    for seeds in ([6], [1, 6, 6, 9]):
        lanes = AtariLanes("pong", len(seeds), repeat_action_probability=STICKY)
        lanes.reset(seed=seeds)
        for action in actions:
            obs, *_ = lanes.step(np.full(len(seeds), action))
        seen.append(obs)
    alone, together = seen
    assert [np.array_equal(alone[0], obs) for obs in together] == [False, True, True, False]


def test_actions_that_do_not_stick_are_the_old_game() -> None:
    plain, told = AtariLanes("pong", 1), AtariLanes("pong", 1, repeat_action_probability=0.0)
    np.testing.assert_array_equal(plain.reset(seed=[3])[0], told.reset(seed=[3])[0])
    for action in (2, 2, 3, 0, 5):
        np.testing.assert_array_equal(
            plain.step(np.array([action]))[0], told.step(np.array([action]))[0]
        )


def test_lanes_that_are_not_asked_for_rest() -> None:
    some, one = AtariLanes("pong", 3), AtariLanes("pong", 1)
    some.reset(seed=[1, 2, 3])
    one.reset(seed=[3])
    for action in (2, 3, 3):
        obs, points, terminated, truncated, info = some.step_lanes(
            np.array([2]), np.array([action])
        )
        expected, *_ = one.step(np.array([action]))
        np.testing.assert_array_equal(obs, expected)
    assert points.shape == terminated.shape == truncated.shape == info["lives"].shape == (1,)
    late, *_ = some.step_lanes(np.array([0]), np.array([2]))
    first = AtariLanes("pong", 1)
    first.reset(seed=[1])
    np.testing.assert_array_equal(late, first.step(np.array([2]))[0])


def test_the_lanes_of_an_atari_environment_are_the_ones_that_rest() -> None:
    lanes = open_lanes(EnvSpec("quarl.envs.atari:quarl/Atari-v0", {"game": "pong"}), 2)
    assert type(lanes).__name__ == "_RestingLanes"
    lanes.start([0, 1], [4, 5])
    before = lanes.obs.copy()
    step = lanes.step(np.array([1]), np.array([2]))
    assert step.rewards.shape == step.ended.shape == (1,)
    np.testing.assert_array_equal(lanes.obs[0], before[0])
    assert not np.array_equal(lanes.obs[1], before[1])


@pytest.mark.parametrize("chance", [-0.1, 1.0, float("nan")])
def test_a_chance_that_is_none_is_refused(chance: float) -> None:
    with pytest.raises(InputError, match="repeat_action_probability"):
        make_env(
            EnvSpec(
                "quarl.envs.atari:quarl/Atari-v0",
                {"game": "pong", "repeat_action_probability": chance},
            )
        )


def test_a_game_is_cut_off_after_so_many_frames() -> None:
    env = gymnasium.make(
        "quarl.envs.atari:quarl/Atari-v0", game="pong", max_num_frames_per_episode=120
    )
    env.reset(seed=1)
    ends = [env.step(np.int64(0))[2:4] for _ in range(30)]
    assert (False, True) in ends, "truncated, not terminated"
    assert ends.index((False, True)) >= 20


@pytest.mark.parametrize("frames", [0, 108_001])
def test_a_number_of_frames_that_is_none_is_refused(frames: int) -> None:
    with pytest.raises(InputError, match="max_num_frames_per_episode"):
        make_env(
            EnvSpec(
                "quarl.envs.atari:quarl/Atari-v0",
                {"game": "pong", "max_num_frames_per_episode": frames},
            )
        )


def test_a_console_that_was_laid_by_plays_what_a_new_one_plays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from quarl.envs import atari

    monkeypatch.setattr(atari, "_LAID_BY", {})
    rng = np.random.default_rng(2)
    new = AtariLanes("breakout", 2, repeat_action_probability=STICKY)
    start, info = new.reset(seed=[5, 6])
    actions = rng.integers(0, 4, (80, 2))
    seen = [new.step(action) for action in actions]
    used = AtariLanes("breakout", 2, repeat_action_probability=STICKY)
    used.reset(seed=[7, 8])
    for action in rng.integers(0, 4, (50, 2)):
        used.step(action)
    consoles = set(used._games)
    used.close()
    again = AtariLanes("breakout", 2, repeat_action_probability=STICKY)
    assert set(again._games) == consoles
    obs, told = again.reset(seed=[5, 6])
    np.testing.assert_array_equal(obs, start)
    for key in info:
        np.testing.assert_array_equal(told[key], info[key])
    for action, expected in zip(actions, seen, strict=True):
        for found, wanted in zip(again.step(action)[:4], expected[:4], strict=True):
            np.testing.assert_array_equal(found, wanted)
    other = AtariLanes("breakout", 1)
    assert not consoles & set(other._games), "other settings are other consoles"


def test_a_console_that_was_interrupted_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from quarl.envs import atari

    monkeypatch.setattr(atari, "_LAID_BY", {})
    lanes = AtariLanes("pong", 2)
    lanes.reset(seed=[1, 2])

    def interrupt(*answer: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lanes, "_keep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        lanes.step(np.array([0, 0]))  # the second console has not been heard
    lanes.close()
    assert not atari._LAID_BY


def test_the_id_alone_names_the_game_to_gymnasium_single_and_vectorised() -> None:
    one = make_env(EnvSpec("quarl/Atari-v0", {"game": "pong"}))
    assert one.shape == (4, 84, 84)
    many = gymnasium.make_vec("quarl.envs:quarl/Atari-v0", 2, game="pong")
    assert many.reset(seed=[1, 2])[0].shape == (2, 4, 84, 84)


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ({}, set(range(1, 31))),
        ({"noop_max": 0, "use_fire_reset": False}, {0}),
        ({"noop_max": 3, "use_fire_reset": False}, {0, 1, 2, 3}),
    ],
)
def test_frames_before_a_game_are_those_of_the_options(
    options: dict[str, Any], frames: set[int]
) -> None:
    lanes = AtariLanes("breakout", 1, **options)
    seen = {int(lanes.reset(seed=seed)[1]["episode_frame_number"][0]) for seed in range(6)}
    assert seen <= frames
    assert len(seen) >= min(len(frames), 2)


def test_an_episode_may_end_with_a_life() -> None:
    lanes = AtariLanes("breakout", 1, episodic_life=True)
    lanes.reset(seed=3)
    for _ in range(100):
        _, _, terminated, _, info = lanes.step(np.array([0]))
        if terminated[0]:
            break
    assert terminated[0]
    assert info["lives"][0] == 4


def breakout_played_without_fire(**options: Any) -> list[tuple[int, float]]:
    """Return lives left and points after each decision of a player that never presses fire."""
    lanes = AtariLanes("breakout", 1, **options)
    lanes.reset(seed=3)
    seen = []
    for decision in range(400):
        _, points, terminated, _, info = lanes.step(np.array([2 + decision // 9 % 2]))
        seen.append((int(info["lives"][0]), float(points[0])))
        if terminated[0]:
            break
    return seen


def test_fire_after_a_lost_life_goes_on_with_a_game_that_waits_for_it() -> None:
    waiting = breakout_played_without_fire()
    assert {lives for lives, _ in waiting} == {5, 4}, "nobody presses fire"
    assert breakout_played_without_fire(fire_after_life=True)[-1][0] == 0


def test_a_console_follows_a_lane_that_fires_after_lives_without_fire_before_them() -> None:
    options: dict[str, Any] = {
        "fire_after_life": True, "use_fire_reset": False, "repeat_action_probability": STICKY
    }  # fmt: skip
    lanes, console = AtariLanes("breakout", 1, **options), Console("breakout", **options)
    _, info = lanes.reset(seed=5)
    console.start(int(info["episode_frame_number"][0]), 5)
    rng, scored = np.random.default_rng(4), 0.0
    for _ in range(300):
        action = int(rng.integers(4))
        _, points, terminated, _, info = lanes.step(np.array([action]))
        assert console.step(action) == points[0]
        assert console.ale.lives() == info["lives"][0]
        scored += points[0]
        if terminated[0]:
            break
    assert scored
    assert info["lives"][0] < 5


@pytest.mark.parametrize(
    "options",
    [{"noop_max": -1}, {"noop_max": 1.5}, {"use_fire_reset": 1}, {"fire_after_life": "yes"},
     {"frame_skip": 2}, {"game": "no_such_game"}],
)  # fmt: skip
def test_an_option_that_is_none_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        make_env(EnvSpec("quarl/Atari-v0", {"game": "pong", **options}))


def test_the_advice_for_a_bare_id_names_a_game_that_exists() -> None:
    import ale_py
    from ale_py import roms

    gymnasium.register_envs(ale_py)
    found = {spec_id: atari_advice(spec_id) for spec_id in gymnasium.registry}
    named = {env: advice.rpartition("game=")[2] for env, advice in found.items() if advice}
    assert len(named) > 100
    assert set(named.values()) <= set(roms.get_all_rom_ids())
    with pytest.raises(InputError, match=r"--env-arg game=pong$"):
        make_env(EnvSpec("ALE/Pong-v9"))
