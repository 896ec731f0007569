"""`quarl/Atari-v0`: an Atari game with the preprocessing that policies are usually trained with,
single and vectorised.

In: the name of a game. Out: observations uint8 [4, 84, 84] (four grey frames, the newest last), one
every four frames of the console, and the true score as reward. An episode is a whole game; its seed
decides how many frames (0 to 30) pass before the player may act.
A console is deterministic, so a player without chance of its own has only some thirty different
games. `repeat_action_probability` makes them as many as there are seeds: in each frame the console
repeats, with that chance, the action of the frame before (sticky actions).
The chance of a game comes from its seed alone. `max_num_frames_per_episode` cuts games off: a
careful player rallies for ever.
Preprocessing follows Mnih et al. 2015 and Machado et al. 2018 (who recommend 0.25), as
`ale_py.vector_env` implements it.
`use_fire_reset`, `episodic_life` and `noop_max` mean what they mean in `ale_py.vector_env`;
`fire_after_life` presses the fire button after each lost life, as Stable-Baselines3's wrappers do.
`quarl.envs` registers the id: `gymnasium.make("quarl.envs:quarl/Atari-v0", game="pong")`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

import ale_py
import gymnasium
import numpy as np
from ale_py import roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

FRAMES_PER_STEP = 4
FRAMES_PER_SECOND = 60
LONGEST_GAME = 108_000  # frames, half an hour; where the console's own interface ends a game

MOST_WAITING = 1_000  # frames before a game

Info = dict[str, Any]


class _Settings(NamedTuple):
    """What a game is made with."""

    game: str
    repeat_action_probability: float = 0.0
    max_num_frames_per_episode: int = LONGEST_GAME
    noop_max: int = 30  # the most frames that pass before the player may act
    use_fire_reset: bool = True  # fire is pressed before them, where the game has it
    episodic_life: bool = False  # an episode ends with a life
    fire_after_life: bool = False  # fire is pressed for one decision after each lost life

    @property
    def of_console(self) -> dict[str, Any]:
        """The arguments of `AtariVectorEnv`."""
        return {key: value for key, value in self._asdict().items() if key != "fire_after_life"}


class Options(TypedDict, total=False):
    """The options of a game, `_Settings` without its name."""

    repeat_action_probability: float
    max_num_frames_per_episode: int
    noop_max: int
    use_fire_reset: bool
    episodic_life: bool
    fire_after_life: bool


class AtariLanes(VectorEnv[NDArray[np.uint8], NDArray[np.int64], NDArray[Any]]):
    """Many games side by side; a lane that has ended waits for `reset` with a mask.

    Each lane is a console with a thread of its own: as many cores work as there are, and lanes that
    are not asked for rest.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}  # noqa: RUF012  # gymnasium's own form

    def __init__(
        self,
        game: str,
        num_envs: int,
        *,
        autoreset_mode: AutoresetMode = AutoresetMode.DISABLED,
        **options: Unpack[Options],
    ) -> None:
        if autoreset_mode != AutoresetMode.DISABLED:
            raise ValueError(f"autoreset_mode={autoreset_mode}; allowed: AutoresetMode.DISABLED")
        self._settings = _checked(game, options)
        self._games = [_take_console(self._settings) for _ in range(num_envs)]
        self._was_interrupted = False  # some consoles were told to go on and have not been heard
        first = self._games[0]
        self.num_envs = num_envs
        self.single_observation_space = first.single_observation_space
        self.single_action_space = first.single_action_space
        self.observation_space = batch_space(first.single_observation_space, num_envs)
        self.action_space = batch_space(first.single_action_space, num_envs)
        self._obs = np.zeros((num_envs, *(first.single_observation_space.shape or ())), np.uint8)
        self._info = {
            key: np.zeros(num_envs, np.int32)
            for key in ("lives", "frame_number", "episode_frame_number")
        }
        fire = _fire_index(game) if self._settings.fire_after_life else None
        self._fire = None if fire is None else np.array([fire], np.int64)
        self._seeds = np.random.default_rng()

    def reset(
        self, *, seed: Any = None, options: Info | None = None
    ) -> tuple[NDArray[np.uint8], Info]:
        """Start a game in every lane, or in those of `options["reset_mask"]`.

        Args:
            seed: one integer (lane i gets seed + i) or one entry per lane, None among them for a
                random one.
        """
        mask = None if options is None else options.get("reset_mask")
        lanes = range(self.num_envs) if mask is None else np.flatnonzero(mask).tolist()
        if seed is None:
            seed = [None] * self.num_envs
        elif isinstance(seed, int | np.integer):
            seed = [int(seed) + lane for lane in range(self.num_envs)]
        drawn = {
            lane: self._seeds.integers(2**31 - 1) if seed[lane] is None else seed[lane] % 2**31
            for lane in lanes
        }
        with self._to_be_heard(), ThreadPoolExecutor() as pool:
            begun = pool.map(
                lambda lane: self._games[lane].reset(seed=np.array([int(drawn[lane])])), lanes
            )
            for lane, (obs, info) in zip(lanes, begun, strict=True):
                self._keep(lane, obs, info)
        return self._obs.copy(), {key: values.copy() for key, values in self._info.items()}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any], NDArray[Any], Info]:
        """Hold one action [lanes] for four frames; return observations, points scored, ends and
        `info["lives"]`. With `fire_after_life` a lost life makes it eight, the last four on fire.
        """
        return self.step_lanes(np.arange(self.num_envs), actions)

    def step_lanes(
        self, lanes: NDArray[np.int64], actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any], NDArray[Any], Info]:
        """Do in these lanes what `step` does in all, one action [k] each, and return what it
        returns, for them; the others rest.
        """
        games = [self._games[lane] for lane in lanes]
        points = np.empty(len(games))
        terminated, truncated = np.empty(len(games), np.bool_), np.empty(len(games), np.bool_)
        with self._to_be_heard():
            for game, action in zip(games, np.asarray(actions, np.int64)[:, None], strict=True):
                game.send(action)  # the lane's own thread begins at once
            for k, (lane, game) in enumerate(zip(lanes, games, strict=True)):
                before = self._info["lives"][lane]
                obs, points[k : k + 1], terminated[k : k + 1], truncated[k : k + 1], info = (
                    game.recv()
                )
                is_over = terminated[k] or truncated[k]
                if self._fire is not None and info["lives"][0] < before and not is_over:
                    game.send(self._fire)
                    obs, more, terminated[k : k + 1], truncated[k : k + 1], info = game.recv()
                    points[k] += more[0]
                self._keep(lane, obs, info)
        return (
            self._obs[lanes],
            points,
            terminated,
            truncated,
            {key: values[lanes] for key, values in self._info.items()},
        )

    @contextmanager
    def _to_be_heard(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._was_interrupted = True
            raise

    def _keep(self, lane: int, obs: NDArray[np.uint8], info: Info) -> None:
        self._obs[lane] = obs[0]
        for key, values in self._info.items():
            values[lane] = info[key][0]

    def close_extras(self, **kwargs: Any) -> None:
        """Lay the consoles by for the next lanes; interrupted ones go with the object."""
        if not self._was_interrupted:
            _LAID_BY.setdefault((os.getpid(), self._settings), []).extend(self._games)
        self._games = []


_LAID_BY: dict[
    tuple[int, _Settings], list[AtariVectorEnv]
] = {}  # by process too: a console's thread stays behind in a fork


def _take_console(settings: _Settings) -> AtariVectorEnv:
    """Return a console that was laid by, or a new one: to make one takes as long as to play 300
    steps.
    """
    laid_by = _LAID_BY.get((os.getpid(), settings))
    return (
        laid_by.pop()
        if laid_by
        else AtariVectorEnv(num_envs=1, num_threads=1, reward_clipping=False, **settings.of_console)
    )


class AtariGame(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """One game; the same episodes as a lane of `AtariLanes`."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": FRAMES_PER_SECOND // FRAMES_PER_STEP}  # noqa: RUF012

    def __init__(
        self,
        game: str,
        *,
        render_mode: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f'render_mode="{render_mode}"; allowed: None, "rgb_array"')
        self.render_mode = render_mode
        self._lanes = AtariLanes(game, 1, **options)
        self._console = Console(game, **options) if render_mode else None
        self.observation_space = self._lanes.single_observation_space
        self.action_space = self._lanes.single_action_space

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[NDArray[np.uint8], Info]:
        """Start a game."""
        super().reset(seed=seed)
        chosen = int(self.np_random.integers(2**31 - 1)) if seed is None else seed
        obs, info = self._lanes.reset(seed=[chosen])
        if self._console is not None:
            self._console.start(int(info["episode_frame_number"][0]), chosen)
        return obs[0], _of_lane(info, 0)

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, Info]:
        """Hold the action for four frames."""
        obs, points, terminated, truncated, info = self._lanes.step(np.array([action], np.int64))
        if self._console is not None:
            self._console.step(int(action))
        return obs[0], float(points[0]), bool(terminated[0]), bool(truncated[0]), _of_lane(info, 0)

    def render(self) -> NDArray[np.uint8] | None:
        """Return the screen, uint8 [210, 160, 3]; None without `render_mode`."""
        return None if self._console is None else self._console.screen()


class Console:
    """A console that is told what a lane does and so shows what the lane hides: memory and colours.

    Games are deterministic: a console that waits as many frames as the lane did and then gets its
    actions is always in the lane's state.
    Where actions stick, it needs the lane's seed as well.
    """

    def __init__(self, game: str, **options: Unpack[Options]) -> None:
        settings = _checked(game, options)
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self.ale = ale_py.ALEInterface()
        self.ale.setFloat("repeat_action_probability", settings.repeat_action_probability)
        self.ale.loadROM(_rom(game))
        self._rom, self._is_sticky = _rom(game), settings.repeat_action_probability > 0
        self._settings = settings
        self.actions = self.ale.getMinimalActionSet()
        self.rams: NDArray[np.uint8] = np.zeros(
            (FRAMES_PER_STEP, 128), np.uint8
        )  # after each frame of the last step

    def start(self, frames: int, seed: int = 0) -> None:
        """Begin a game and let as many frames pass as the lane's `info["episode_frame_number"]`
        says.

        Args:
            seed: the lane's, which decides the actions that stick.
        """
        if self._is_sticky:
            self.ale.setInt("random_seed", seed % 2**31)
            self.ale.loadROM(self._rom)  # a console takes a new seed with its cartridge only
        self.ale.reset_game()
        wait = self.actions[0]
        has_fire = self._settings.use_fire_reset and ale_py.Action.FIRE in self.actions
        fire = ale_py.Action.FIRE if has_fire else wait
        for frame in range(frames):
            self.ale.act(
                wait if frame else fire
            )  # a lane presses the fire button first, then waits
        self.rams[:] = self.ale.getRAM()

    def continue_from(self, other: Console) -> None:
        """Take over another console's game of the same name, to try things out that must not happen
        there.

        Which action the other one holds, and may repeat, is not part of a game: only a console
        without sticky actions can take it over.
        """
        assert not self._is_sticky, "a sticky console cannot go on as another one would"
        self.ale.restoreState(other.ale.cloneState())
        self.rams[:] = other.rams

    def step(self, action: int) -> float:
        """Hold the action for four frames, then fire where the lane does; return the points."""
        lives = self.ale.lives()
        points = self._hold(self.actions[action])
        is_on = self.ale.lives() < lives and not self.ale.game_over()
        if self._settings.fire_after_life and is_on and ale_py.Action.FIRE in self.actions:
            points += self._hold(ale_py.Action.FIRE)
        return points

    def _hold(self, action: ale_py.Action) -> float:
        points = 0.0
        for frame in range(FRAMES_PER_STEP):
            points += self.ale.act(action)
            self.rams[frame] = self.ale.getRAM()
        return points

    def screen(self) -> NDArray[np.uint8]:
        """Return the screen, uint8 [210, 160, 3]."""
        return np.asarray(self.ale.getScreenRGB())


def _rom(game: str) -> Path:
    path = roms.get_rom_path(game) if game in roms.get_all_rom_ids() else None
    if path is None:
        raise ValueError(f'game="{game}"; allowed: {", ".join(sorted(roms.get_all_rom_ids()))}')
    return path


def _checked(game: str, options: Options) -> _Settings:
    """Return the settings of a game.

    Raises:
        ValueError, TypeError: one is not allowed or not known; names it.
    """
    _rom(game)
    unknown = set(options) - set(_Settings._fields)
    if unknown:
        raise TypeError(f"{min(unknown)}: allowed: {', '.join(_Settings._fields)}")
    settings = _Settings(game, **options)
    for key, least, most in (
        ("max_num_frames_per_episode", 1, LONGEST_GAME),
        ("noop_max", 0, MOST_WAITING),
    ):
        value = getattr(settings, key)
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{key}={value}; allowed: whole numbers from {least} to {most}")
    for key in ("use_fire_reset", "episodic_life", "fire_after_life"):
        value = getattr(settings, key)
        if type(value) is not bool:
            raise ValueError(f"{key}={value}; allowed: true, false")
    chance = settings.repeat_action_probability
    if not 0.0 <= chance < 1.0:
        raise ValueError(f"repeat_action_probability={chance}; allowed: from 0 to below 1")
    return settings


def _fire_index(game: str) -> int | None:
    """Return the number of the fire button among the game's actions; None where it has none."""
    actions = list(Console(game).actions)
    return actions.index(ale_py.Action.FIRE) if ale_py.Action.FIRE in actions else None


def _of_lane(info: Info, lane: int) -> Info:
    return {key: info[key][lane].item() for key in ("lives", "episode_frame_number") if key in info}
