"""quarl/PointToPoint-v0: the same flight everywhere, honest beams, gymnasium's rules, a picture."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

import quarl.envs
from quarl.envs.flight import (
    ARENA_M,
    BEAM_RANGE_M,
    BEAMS,
    COMMANDS,
    DRONE_RADIUS_M,
    MAX_STEPS,
    OBS_LEN,
    Flights,
    Floats,
)
from quarl.envs.point_to_point import PointToPointEnv, PointToPointVectorEnv

AHEAD = np.array((0.6, 0.1, 0.05), np.float32)


def lanes(num_envs: int, **kwargs: Any) -> VectorEnv[Any, Any, Any]:
    kwargs.setdefault("autoreset_mode", AutoresetMode.DISABLED)
    return gymnasium.make_vec(quarl.envs.POINT_TO_POINT, num_envs=num_envs, **kwargs)


def wander(obs: Floats) -> Floats:
    """Fly towards the goal, slower where there is little room: a policy that depends on beams and
    goal.
    """
    forward, left, up = obs[..., 36], obs[..., 37], obs[..., 38]
    room = obs[..., 0] + obs[..., 1] + obs[..., 2] + obs[..., -10]
    speed = 0.3 * forward / (abs(forward) + 1) + room * np.float32(0.02)
    return np.stack([speed, left / (abs(left) + 1), up / (abs(up) + 1)], axis=-1).astype(np.float32)


def flight(seed: int) -> tuple[Floats, list[float], dict[str, Any]]:
    """One episode in the single environment."""
    env = PointToPointEnv()
    obs, info = env.reset(seed=seed)
    seen, rewards, over = [obs], [], False
    while not over:
        obs, reward, terminated, truncated, info = env.step(wander(obs))
        seen.append(obs)
        rewards.append(reward)
        over = terminated or truncated
    return np.stack(seen), rewards, info


@pytest.mark.parametrize("actions", ["continuous", "discrete"])
def test_gymnasium_finds_nothing_to_criticise(actions: str) -> None:
    env = gymnasium.make(
        "quarl.envs:quarl/PointToPoint-v0", actions=actions, render_mode="rgb_array"
    )
    with np.errstate(all="raise"):
        check_env(env.unwrapped)


def test_an_episode_is_the_same_bits_in_any_lane_of_any_batch() -> None:
    alone = {seed: flight(seed) for seed in range(5)}
    for order, width in (([3, 0, 4, 2, 1], 5), ([1, 4], 2), ([4, 3, 2, 1, 0] * 8, 40)):
        envs = lanes(width)
        obs, _ = envs.reset(seed=order)  # type: ignore[arg-type]
        playing = list(range(width))
        for step in range(MAX_STEPS):
            for lane in playing:
                np.testing.assert_array_equal(obs[lane], alone[order[lane]][0][step])
            obs, reward, terminated, truncated, info = envs.step(wander(obs))
            over = terminated | truncated
            for lane in [lane for lane in playing if over[lane]]:
                seen, rewards, last = alone[order[lane]]
                np.testing.assert_array_equal(obs[lane], seen[-1])
                assert (step + 1, float(reward[lane])) == (len(rewards), rewards[-1])
                assert {key: info[key][lane] for key in last} == last
                playing.remove(lane)
            if over.any():
                obs, _ = envs.reset(options={"reset_mask": over})
            if not playing:
                break
        assert not playing


def test_a_lane_that_is_reset_alone_leaves_the_others_as_they_are() -> None:
    envs = lanes(4)
    obs, _ = envs.reset(seed=[10, 11, 12, 13])  # type: ignore[arg-type]
    before, *_ = envs.step(np.stack([AHEAD] * 4))
    mask = np.array([False, True, False, True])
    after, info = envs.reset(seed=[None, 99, None, None], options={"reset_mask": mask})  # type: ignore[arg-type]
    np.testing.assert_array_equal(after[~mask], before[~mask])
    np.testing.assert_array_equal(after[1], PointToPointEnv().reset(seed=99)[0])
    assert not np.array_equal(after[3], obs[3])
    np.testing.assert_array_equal(info["_distance_m"], mask)


def test_lanes_step_some_at_a_time_as_they_do_all_together() -> None:
    some, whole = lanes(5), lanes(5)
    obs, _ = some.reset(seed=7)
    rested, _ = whole.reset(seed=7)
    chosen = np.array([4, 0, 3])
    for _ in range(5):
        actions = wander(obs)
        obs, *_ = whole.step(actions)
        stepped, reward, terminated, truncated, info = some.step_lanes(chosen, actions[chosen])
        np.testing.assert_array_equal(stepped, obs[chosen])
    assert reward.shape == terminated.shape == truncated.shape == (3,)
    np.testing.assert_array_equal(info["distance_m"], stepped[:, len(BEAMS) + 3])
    mask = np.arange(5) == 2
    after, _ = some.reset(seed=[None, None, 9, None, None], options={"reset_mask": mask})  # type: ignore[arg-type]
    np.testing.assert_array_equal(after[1], rested[1])  # it has not moved
    np.testing.assert_array_equal(after[chosen], stepped)
    begun = lanes(2)
    begun.reset(seed=1, options={"reset_mask": np.array([True, False])})
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"\[1\]"):
        begun.step_lanes(np.array([1]), AHEAD[None])


def test_an_unseeded_reset_goes_on_with_the_generator_of_the_lane() -> None:
    env = PointToPointEnv()
    env.reset(seed=5)
    second, _ = env.reset()
    envs = lanes(3)
    envs.reset(seed=[1, 5, 2])  # type: ignore[arg-type]
    obs, _ = envs.reset()
    np.testing.assert_array_equal(obs[1], second)


def test_one_seed_for_all_lanes_counts_up() -> None:
    obs, _ = lanes(3).reset(seed=20)
    for lane in range(3):
        np.testing.assert_array_equal(obs[lane], PointToPointEnv().reset(seed=20 + lane)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reset_mask": np.zeros(2, np.bool_)}, "at least one True"),
        ({"reset_mask": np.ones(3, np.bool_)}, "bool array of 2"),
        ({"reset_mask": [True, False]}, "bool array of 2"),
    ],
)
def test_a_reset_mask_that_cannot_be_meant_is_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        lanes(2).reset(options=options)


def test_a_lane_that_is_over_must_be_reset_before_it_steps() -> None:
    envs = lanes(1)
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.step(AHEAD[None])
    env = PointToPointEnv()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(AHEAD)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_lanes_restart_by_themselves_as_gymnasium_defines_it(mode: AutoresetMode) -> None:
    own = lanes(3, autoreset_mode=mode)
    one_by_one = gymnasium.make_vec(
        quarl.envs.POINT_TO_POINT,
        num_envs=3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
    )
    for envs in (own, one_by_one):
        assert envs.metadata["autoreset_mode"] == mode
    ours, theirs = own.reset(seed=3)[0], one_by_one.reset(seed=3)[0]
    ends = 0
    for _ in range(250):
        np.testing.assert_array_equal(ours, theirs)
        commands = wander(ours)
        ours, *our_rest, our_info = own.step(commands)
        theirs, *their_rest, their_info = one_by_one.step(commands)
        for found, expected in zip(our_rest, their_rest, strict=True):
            np.testing.assert_array_equal(found, expected)
        for lane in np.flatnonzero(our_rest[1] | our_rest[2]):
            ends += 1
            if mode is AutoresetMode.SAME_STEP:
                np.testing.assert_array_equal(
                    our_info["final_obs"][lane], their_info["final_obs"][lane]
                )
                for key in ("success", "collision", "timeout", "distance_m"):
                    assert our_info["final_info"][key][lane] == pytest.approx(
                        their_info["final_info"][key][lane], abs=0
                    )
    assert ends >= 3


def test_an_episode_ends_in_exactly_one_way_and_pays_for_it() -> None:
    envs = lanes(64, obstacles=8)
    obs, info = envs.reset(seed=0)
    start = info["distance_m"].astype(np.float64)
    returns, lengths, ways = np.zeros(64), np.zeros(64), np.zeros(64, np.int64)
    while not ways.all():
        obs, reward, terminated, truncated, info = envs.step(wander(obs))
        running = ways == 0
        returns[running] += reward[running]
        lengths[running] += 1
        over = terminated | truncated
        np.testing.assert_array_equal(terminated, info["success"] | info["collision"])
        np.testing.assert_array_equal(truncated, info["timeout"])
        np.testing.assert_array_equal(
            info["success"].astype(int) + info["collision"] + info["timeout"], over
        )
        for lane in np.flatnonzero(over & running):
            ways[lane] = 1 if info["success"][lane] else 2 if info["collision"][lane] else 3
            bonus = {1: 20.0, 2: -20.0, 3: 0.0}[int(ways[lane])]
            expected = start[lane] - info["distance_m"][lane] - 0.05 * lengths[lane] + bonus
            assert returns[lane] == pytest.approx(expected, abs=1e-3)
            assert (info["distance_m"][lane] < 1.0) == bool(info["success"][lane])
        if over.any():
            obs, _ = envs.reset(options={"reset_mask": over})
    assert {1, 2} <= set(ways.tolist())


def test_a_drone_that_hovers_runs_out_of_time() -> None:
    env = PointToPointEnv()
    env.reset(seed=1)
    for step in range(MAX_STEPS):
        _, _, terminated, truncated, info = env.step(np.zeros(3, np.float32))
        assert (terminated, truncated) == (False, step == MAX_STEPS - 1)
    assert info["timeout"]


def march(flights: Flights, lane: int, beam: int) -> float:
    """Find how far a beam reaches by walking along it in centimetres: slow, and independent of the
    ray casting.
    """
    x, y, z = (axis[lane, beam] for axis in flights.beam_directions(slice(None)))
    reach = np.arange(0.0, BEAM_RANGE_M, 0.01)
    points = flights.position[lane].astype(np.float64) + reach[:, None] * np.array(
        (x, y, z), np.float64
    )
    blocked = ((points < 0) | (points > ARENA_M)).any(axis=1)
    spheres = (
        np.linalg.norm(points[:, None] - flights.sphere_center[lane], axis=2)
        < flights.sphere_radius[lane]
    )
    boxes = (np.abs(points[:, None] - flights.box_center[lane]) < flights.box_half[lane]).all(
        axis=2
    )
    blocked |= spheres.any(axis=1) | boxes.any(axis=1)
    return float(reach[blocked.argmax()]) if blocked.any() else BEAM_RANGE_M


def test_beams_measure_the_way_to_the_nearest_thing() -> None:
    flights = Flights(40)
    flights.reset(range(40), [np.random.default_rng(seed) for seed in range(40)])
    for _ in range(25):
        flights.step(np.tile(AHEAD, (40, 1)))
    crashed = flights.touches()
    obs = flights.observe()
    for lane in np.flatnonzero(~crashed)[:12]:
        found = obs[lane, : len(BEAMS)]
        expected = [march(flights, int(lane), beam) for beam in range(len(BEAMS))]
        close = np.abs(found - expected) < 0.05
        assert close.mean() > 0.97, (
            "only a beam that grazes an edge may differ from the walk along it"
        )


def test_beams_and_goal_turn_with_the_drone() -> None:
    flights = Flights(1)
    flights.reset([0], [np.random.default_rng(3)])
    flights.heading[0] = (0.0, 1.0)
    flights.goal[0] = flights.position[0] + np.float32(
        (2.0, 5.0, 1.0)
    )  # right of, ahead of and above a drone that looks along y
    obs = flights.observe()[0]
    np.testing.assert_allclose(obs[36:39], (5.0, -2.0, 1.0), atol=1e-5)
    x, y, _ = flights.beam_directions(slice(None))
    np.testing.assert_allclose((x[0, 0], y[0, 0]), (0.0, 1.0), atol=1e-6)


def test_start_and_goal_are_free_and_apart() -> None:
    flights = Flights(300)
    flights.reset(range(300), [np.random.default_rng(seed) for seed in range(300)])
    assert not flights.touches().any()
    assert flights.distance.min() > 20.0
    flights.position[:] = flights.goal
    assert not flights.touches().any()
    axis = np.abs(flights.goal - flights.position).argmax(axis=1)
    assert set(axis.tolist()) <= {0, 1}
    assert (flights.sphere_center[:, :, 0] < 100).mean() > 0.99


def test_velocity_lags_behind_its_command() -> None:
    flights = Flights(1, obstacles=0)
    flights.reset([0], [np.random.default_rng(0)])
    speeds = []
    for _ in range(10):
        flights.step(np.array([[1.0, 0.0, 0.0]], np.float32))
        speeds.append(float(np.linalg.norm(flights.velocity[0])))
    expected = [4.0 * (1.0 - np.exp(-0.1 * (step + 1) / 0.4)) for step in range(10)]
    np.testing.assert_allclose(speeds, expected, rtol=1e-4)


def test_heading_stays_a_unit_vector_and_turns_at_the_commanded_rate() -> None:
    flights = Flights(1, obstacles=0)
    flights.reset([0], [np.random.default_rng(0)])
    flights.heading[0] = (1.0, 0.0)
    flights.yaw_rate[0] = 1.885
    for _ in range(20):
        flights.step(np.array([[0.0, 1.0, 0.0]], np.float32))
    angle = np.arctan2(flights.heading[0, 1], flights.heading[0, 0]) % (2 * np.pi)
    assert angle == pytest.approx(2.0 * 1.885, abs=0.01)
    assert np.hypot(*flights.heading[0]) == pytest.approx(1.0, abs=1e-6)


def test_discrete_actions_are_the_continuous_ones_of_the_table() -> None:
    discrete, continuous = lanes(25, actions="discrete"), lanes(25)
    discrete.reset(seed=[7] * 25)  # type: ignore[arg-type]
    continuous.reset(seed=[7] * 25)  # type: ignore[arg-type]
    assert discrete.single_action_space == gymnasium.spaces.Discrete(25)
    np.testing.assert_array_equal(discrete.step(np.arange(25))[0], continuous.step(COMMANDS)[0])


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("continuous", np.array((np.nan, 0.0, 0.0))),
        ("continuous", np.array((np.inf, 0.0, 0.0))),
        ("continuous", np.zeros(2)),
        ("discrete", 25),
        ("discrete", -1),
        ("discrete", 0.5),
    ],
)
def test_an_action_that_is_none_is_refused(kind: str, action: NDArray[np.float64] | float) -> None:
    env = gymnasium.make(quarl.envs.POINT_TO_POINT, actions=kind).unwrapped
    env.reset(seed=0)
    with pytest.raises(gymnasium.error.InvalidAction, match="allowed"):
        env.step(action)


@pytest.mark.parametrize(
    "kwargs", [{"actions": "both"}, {"obstacles": -1}, {"render_mode": "human"}]
)
def test_arguments_that_make_no_sense_are_refused(kwargs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="allowed"):
        PointToPointEnv(**kwargs)
    with pytest.raises(ValueError, match="allowed"):
        PointToPointVectorEnv(2, **kwargs)


@pytest.mark.parametrize("obstacles", [0, 1, 5])
def test_any_number_of_obstacles_flies(obstacles: int) -> None:
    envs = lanes(3, obstacles=obstacles)
    obs, _ = envs.reset(seed=1)
    obs, *_ = envs.step(np.stack([AHEAD] * 3))
    assert obs.shape == (3, OBS_LEN)
    assert obs.dtype == np.float32
    assert np.isfinite(obs).all()


def test_observations_stay_in_their_space_even_in_a_wall() -> None:
    envs = lanes(32)
    obs, _ = envs.reset(seed=0)
    for _ in range(80):
        obs, _, terminated, truncated, _ = envs.step(
            np.tile(np.float32((-1.0, 1.0, -1.0)), (32, 1))
        )
        assert envs.observation_space.contains(obs)
        if (terminated | truncated).any():
            obs, _ = envs.reset(options={"reset_mask": terminated | truncated})


def colored(frame: NDArray[np.uint8], color: tuple[int, int, int]) -> int:
    return int((np.abs(frame.astype(int) - color).sum(axis=2) < 12).sum())


def test_the_picture_shows_drone_path_and_goal() -> None:
    env = PointToPointEnv(render_mode="rgb_array")
    env.reset(seed=4)
    first = env.render()
    for _ in range(20):
        env.step(AHEAD)
    later = env.render()
    assert first is not None
    assert later is not None
    assert first.shape == later.shape == (540, 960, 3)
    assert first.dtype == np.uint8
    path, drone, goal = (226, 108, 24), (190, 30, 45), (24, 142, 82)
    assert colored(later, path) > colored(first, path) + 200
    assert colored(later, drone) > 60
    assert colored(later, goal) > 60


def test_every_lane_has_its_picture_and_none_without_render_mode() -> None:
    envs = lanes(2, render_mode="rgb_array")
    envs.reset(seed=0)
    envs.step(np.stack([AHEAD] * 2))
    frames = envs.render()
    assert frames is not None
    assert len(frames) == 2
    assert not np.array_equal(frames[0], frames[1])
    envs.reset(seed=[0, 1])  # type: ignore[arg-type]
    silent = lanes(2)
    silent.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert silent.render() is None


def test_the_drone_cannot_pass_through_a_thin_sphere_at_full_speed() -> None:
    flights = Flights(1, obstacles=1)
    flights.reset([0], [np.random.default_rng(0)])
    flights.position[0] = (5.0, 15.0, 5.0)
    flights.heading[0] = (1.0, 0.0)
    flights.velocity[0] = (4.0, 0.0, 0.0)
    flights.sphere_center[0, 0] = (15.0, 15.0, 5.0)
    flights.sphere_radius[0, 0] = 0.01
    hit = [
        bool(flights.step(np.array([[1.0, 0.0, 0.0]], np.float32)).collision[0]) for _ in range(40)
    ]
    assert any(hit)
    assert DRONE_RADIUS_M > 4.0 * 0.05
