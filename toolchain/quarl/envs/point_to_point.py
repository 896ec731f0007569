"""`quarl/PointToPoint-v0` as gymnasium environments: one flight (`PointToPointEnv`) or many at once
(`PointToPointVectorEnv`).

Observation, float32 [44], in the body frame (forward, left, up): 36 range beams in metres, goal
vector and distance in metres, velocity in metres per second, turning rate in radians per second.
Action: `actions="continuous"`, a Box of three in -1..1 (forward speed, turning rate to the left,
    climbing speed),
or `actions="discrete"`, 25 velocity commands: straight on, left, right, climbing, sinking, each at
0, 25, 50, 75 and 100 % of the greatest forward speed.
Reward: metres gained towards the goal, -0.05 a step, +20 on arrival, -20 on a collision.
An episode ends with either, or is cut after 300 steps.
`info` holds `success`, `collision`, `timeout` and `distance_m`.

All randomness of an episode comes from the generator of its lane when it starts; after
`reset(seed=s)` that is the generator of seed s, so an episode is the same in the single
environment, in any lane and at any number of lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from quarl.envs.canvas import Frame
from quarl.envs.flight import (
    ARENA_M,
    BEAM_RANGE_M,
    BEAMS,
    COMMANDS,
    DEFAULT_OBSTACLES,
    MAX_CLIMB_M_S,
    MAX_SPEED_M_S,
    MAX_STEPS,
    MAX_YAW_RAD_S,
    STEP_S,
    Flags,
    Flights,
    Floats,
    Moved,
)
from quarl.envs.render import draw_flight

Actions: TypeAlias = Literal["continuous", "discrete"]
Info: TypeAlias = dict[str, Any]

METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": round(1 / STEP_S)}


class PointToPointVectorEnv(VectorEnv[Floats, NDArray[Any], NDArray[Any]]):
    """Many flights, stepped together.

    `reset` takes one seed for all lanes (lane i gets seed + i) or one per lane (None goes on with
    the lane's generator), and `options={"reset_mask": bool [num_envs]}` restarts only some lanes.
    """

    metadata = METADATA

    def __init__(
        self,
        num_envs: int = 1,
        actions: Actions = "continuous",
        obstacles: int = DEFAULT_OBSTACLES,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        _check_arguments(actions, obstacles, render_mode)
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**METADATA, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = _observation_space()
        self.single_action_space = _action_space(actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._flights = Flights(num_envs, obstacles)
        self._obs = self._flights.observe()  # the latest, of every lane
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._over = np.ones(num_envs, np.bool_)  # lanes that need a reset
        self._paths = _Paths(num_envs) if render_mode is not None else None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Info | None = None
    ) -> tuple[Floats, Info]:
        """Start flights in all lanes, or in those of `options["reset_mask"]`; return all
        observations and the infos.
        """
        mask = _reset_mask(options, self.num_envs)
        seeds = _lane_seeds(seed, self.num_envs)
        self._restart(mask, seeds)
        rows = np.flatnonzero(mask)
        self._obs[rows] = self._flights.taken(rows).observe()
        return self._obs.copy(), self._info(_standing(self.num_envs), mask)

    def step(self, actions: NDArray[Any]) -> tuple[Floats, Floats, Flags, Flags, Info]:
        """Fly every lane for one step of 0.1 s.

        Raises:
            gymnasium.error.ResetNeeded: with `AutoresetMode.DISABLED`, a lane whose episode is
            over.
            gymnasium.error.InvalidAction: actions of another shape, not finite, or no such discrete
            action.
        """
        restart = self._over.copy()
        if self.autoreset_mode is not AutoresetMode.NEXT_STEP:
            self._check_begun(np.arange(self.num_envs))
        moved = self._flights.step(_commands(actions, self.single_action_space, self.num_envs))
        if (
            restart.any()
        ):  # in the mode NEXT_STEP a lane that is over starts again instead of moving
            self._restart(restart, [None] * self.num_envs)
            moved = Moved(
                *(np.where(restart, np.zeros_like(values), values) for values in _columns(moved))
            )
        if self._paths is not None:
            self._paths.extend(self._flights, ~restart)
        terminated, truncated = moved.success | moved.collision, moved.timeout
        over = terminated | truncated
        self._over = over
        obs, info = self._flights.observe(), self._info(moved, np.ones(self.num_envs, np.bool_))
        if self.autoreset_mode is AutoresetMode.SAME_STEP and over.any():
            obs, info = self._next_episodes(over, obs, moved)
        self._obs[:] = obs
        return obs, moved.reward, terminated, truncated, info

    def step_lanes(
        self, lanes: NDArray[np.int64], actions: NDArray[Any]
    ) -> tuple[Floats, Floats, Flags, Flags, Info]:
        """Do in these lanes what `step` does in all, one action each, and return what it returns,
        for them; the others rest. None starts again by itself, whatever the autoreset mode.

        Raises:
            gymnasium.error.ResetNeeded, gymnasium.error.InvalidAction: as `step`.
        """
        self._check_begun(lanes)
        part = self._flights.taken(lanes)
        moved = part.step(_commands(actions, self.single_action_space, len(lanes)))
        self._flights.put(lanes, part)
        if self._paths is not None:
            self._paths.extend(self._flights, np.isin(np.arange(self.num_envs), lanes))
        terminated, truncated = moved.success | moved.collision, moved.timeout
        self._over[lanes] = terminated | truncated
        self._obs[lanes] = obs = part.observe()
        info = _info(moved, part.distance, np.ones(len(lanes), np.bool_))
        return obs, moved.reward, terminated, truncated, info

    def _check_begun(self, lanes: NDArray[np.int64]) -> None:
        over = lanes[self._over[lanes]]
        if over.size:
            raise gymnasium.error.ResetNeeded(
                f"lanes {over.tolist()} are over or not started: reset them before step"
            )

    def render(self) -> tuple[Frame, ...] | None:
        """Return one picture a lane, uint8 [540, 960, 3]; None without `render_mode`."""
        if self._paths is None:
            gymnasium.logger.warn(
                'render() needs render_mode="rgb_array" when the environment is made'
            )
            return None
        return tuple(
            draw_flight(self._flights, lane, self._paths.of(lane)) for lane in range(self.num_envs)
        )

    def _next_episodes(self, over: Flags, obs: Floats, moved: Moved) -> tuple[Floats, Info]:
        """Return first observations where a flight is over; its last observation and info go to
        `final_obs` and `final_info`.
        """
        final_obs = np.full(self.num_envs, None, dtype=object)
        for lane in np.flatnonzero(over):
            final_obs[lane] = obs[lane].copy()
        final_info = self._info(moved, over)
        self._restart(over, [None] * self.num_envs)
        info = self._info(
            Moved(*(np.where(over, np.zeros_like(values), values) for values in _columns(moved))),
            np.ones_like(over),
        )
        final = {
            "final_obs": final_obs,
            "_final_obs": over.copy(),
            "final_info": final_info,
            "_final_info": over.copy(),
        }
        return self._flights.observe(), {**info, **final}

    def _restart(self, mask: Flags, seeds: Sequence[int | None]) -> None:
        rows = [int(row) for row in np.flatnonzero(mask)]
        generators = []
        for row in rows:
            generator = self._generators[row]
            if seeds[row] is not None or generator is None:
                generator, _ = seeding.np_random(seeds[row])
            self._generators[row] = generator
            generators.append(generator)
        self._flights.reset(rows, generators)
        self._over = self._over & ~mask
        if self._paths is not None:
            self._paths.start(self._flights, rows)

    def _info(self, moved: Moved, shown: Flags) -> Info:
        return _info(moved, self._flights.distance, shown)


class PointToPointEnv(gymnasium.Env[Floats, Any]):
    """One flight: a batch of one of the same simulation."""

    metadata = METADATA

    def __init__(
        self,
        actions: Actions = "continuous",
        obstacles: int = DEFAULT_OBSTACLES,
        render_mode: str | None = None,
    ) -> None:
        _check_arguments(actions, obstacles, render_mode)
        self.render_mode = render_mode
        self.observation_space: spaces.Space[Any] = _observation_space()
        self.action_space = _action_space(actions)
        self._flights = Flights(1, obstacles)
        self._paths = _Paths(1) if render_mode is not None else None
        self._over = True

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Floats, Info]:
        """Start a flight; `options` are not used."""
        super().reset(seed=seed)
        self._flights.reset([0], [self.np_random])
        self._over = False
        if self._paths is not None:
            self._paths.start(self._flights, [0])
        return self._flights.observe()[0], self._info(_standing(1))

    def step(self, action: Any) -> tuple[Floats, float, bool, bool, Info]:
        """Fly one step of 0.1 s.

        Raises:
            gymnasium.error.ResetNeeded: the episode is over.
            gymnasium.error.InvalidAction: an action of another shape, not finite, or no such
            discrete action.
        """
        if self._over:
            raise gymnasium.error.ResetNeeded(
                "the episode is over or not started: reset before step"
            )
        moved = self._flights.step(_commands(np.asarray(action)[None], self.action_space, 1))
        if self._paths is not None:
            self._paths.extend(self._flights, np.ones(1, np.bool_))
        terminated, truncated = bool(moved.success[0] or moved.collision[0]), bool(moved.timeout[0])
        self._over = terminated or truncated
        return (
            self._flights.observe()[0],
            float(moved.reward[0]),
            terminated,
            truncated,
            self._info(moved),
        )

    def render(self) -> Frame | None:
        """Return a picture, uint8 [540, 960, 3]; None without `render_mode`."""
        if self._paths is None:
            gymnasium.logger.warn(
                'render() needs render_mode="rgb_array" when the environment is made'
            )
            return None
        return draw_flight(self._flights, 0, self._paths.of(0))

    def _info(self, moved: Moved) -> Info:
        flags = {
            "success": bool(moved.success[0]),
            "collision": bool(moved.collision[0]),
            "timeout": bool(moved.timeout[0]),
        }
        return {**flags, "distance_m": float(self._flights.distance[0])}


def _info(moved: Moved, distance: Floats, shown: Flags) -> Info:
    """Return the info of the lanes in `shown`, in gymnasium's form: an array per key, and under
    `_key` which lanes have it.
    """
    values = {
        "success": moved.success,
        "collision": moved.collision,
        "timeout": moved.timeout,
        "distance_m": distance,
    }
    info: Info = {}
    for key, value in values.items():
        info[key], info[f"_{key}"] = np.where(shown, value, np.zeros_like(value)), shown.copy()
    return info


class _Paths:
    """Where each drone has been since its flight began, for the picture."""

    def __init__(self, lanes: int) -> None:
        self._points = np.zeros((lanes, MAX_STEPS + 1, 3), np.float32)
        self._count = np.zeros(lanes, np.int64)

    def start(self, flights: Flights, rows: Sequence[int]) -> None:
        self._points[rows, 0] = flights.position[rows]
        self._count[rows] = 1

    def extend(self, flights: Flights, mask: Flags) -> None:
        rows = np.flatnonzero(mask)
        self._points[rows, self._count[rows]] = flights.position[rows]
        self._count[rows] += 1

    def of(self, lane: int) -> Floats:
        return self._points[lane, : self._count[lane]]


def _observation_space() -> spaces.Box:
    reach = float(np.ceil(np.linalg.norm(ARENA_M))) + 1.0
    # One metre and a tenth of the speed are left for the last step into a wall and for rounding.
    speed = (1.1 * MAX_SPEED_M_S, 1.1 * MAX_SPEED_M_S, 1.1 * MAX_CLIMB_M_S, 1.1 * MAX_YAW_RAD_S)
    high = np.array([BEAM_RANGE_M] * len(BEAMS) + [reach] * 4 + [*speed], np.float32)
    low = -high
    low[: len(BEAMS)] = 0.0
    low[len(BEAMS) + 3] = 0.0
    return spaces.Box(low, high, dtype=np.float32)


def _action_space(actions: Actions) -> spaces.Space[Any]:
    return (
        spaces.Box(-1.0, 1.0, (3,), np.float32)
        if actions == "continuous"
        else spaces.Discrete(len(COMMANDS))
    )


def _check_arguments(actions: str, obstacles: int, render_mode: str | None) -> None:
    if actions not in ("continuous", "discrete"):
        raise ValueError(f'actions="{actions}"; allowed: "continuous", "discrete"')
    if obstacles < 0:
        raise ValueError(f"obstacles={obstacles}; allowed: 0 or more")
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f'render_mode="{render_mode}"; allowed: None, "rgb_array"')


def _commands(actions: NDArray[Any], space: spaces.Space[Any], lanes: int) -> Floats:
    """Return actions of either kind as continuous ones [lanes, 3] in -1..1."""
    actions = np.asarray(actions)
    if isinstance(space, spaces.Discrete):
        if (
            actions.shape != (lanes,)
            or actions.dtype.kind not in "iu"
            or (actions < 0).any()
            or (actions >= len(COMMANDS)).any()
        ):
            raise gymnasium.error.InvalidAction(
                f"{lanes} integers from 0 to {len(COMMANDS) - 1} are allowed, found {actions!r}"
            )
        return np.asarray(COMMANDS[actions])
    if (
        actions.shape != (lanes, 3)
        or actions.dtype.kind not in "fiu"
        or not np.isfinite(actions).all()
    ):
        raise gymnasium.error.InvalidAction(
            f"{lanes} x 3 finite numbers are allowed, found {actions!r}"
        )
    return np.clip(actions.astype(np.float32), -1.0, 1.0)


def _reset_mask(options: Info | None, lanes: int) -> Flags:
    mask = None if options is None else options.get("reset_mask")
    if mask is None:
        return np.ones(lanes, np.bool_)
    if (
        not isinstance(mask, np.ndarray)
        or mask.shape != (lanes,)
        or mask.dtype != np.bool_
        or not mask.any()
    ):
        raise ValueError(
            f'options["reset_mask"] must be a bool array of {lanes} with at least one True, '
            f"found {mask!r}"
        )
    return mask


def _lane_seeds(seed: int | Sequence[int | None] | None, lanes: int) -> list[int | None]:
    if seed is None:
        return [None] * lanes
    if isinstance(seed, int | np.integer):
        return [int(seed) + lane for lane in range(lanes)]
    if len(seed) != lanes:
        raise ValueError(f"one seed per lane: {lanes} are allowed, found {len(seed)}")
    return [None if lane_seed is None else int(lane_seed) for lane_seed in seed]


def _standing(lanes: int) -> Moved:
    """Return how flights stand that have just begun."""
    no = np.zeros(lanes, np.bool_)
    return Moved(np.zeros(lanes, np.float32), no, no.copy(), no.copy())


def _columns(moved: Moved) -> tuple[NDArray[Any], ...]:
    return moved.reward, moved.success, moved.collision, moved.timeout
