"""A Breakout player that reads the console's memory, to teach a network that sees only the screen.

In: a `Console` that runs Breakout. Out: the action an expert would take there.
What it knows of the game was measured, not looked up:
- The ball meets the paddle at y = 177. Where it will do so, bricks and walls on the way included,
  is found out on a copy of the console.
- The paddle follows a hidden lever with a delay of one frame: each frame it covers half the
  distance, and the lever moves 6 pixels a frame.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quarl.envs.atari import FRAMES_PER_STEP, Console
from quarl.train.expert import Advice

BALL_X, BALL_Y, PADDLE_X = 99, 101, 72  # addresses in memory
HOLD, FIRE, RIGHT, LEFT = 0, 1, 2, 3
PADDLE_LIMITS_X = (55.0, 191.0)
CONTACT_Y = 177
PLACES = (3.0, 8.0, 13.0)  # ball x - paddle x at contact
FINE_FRAMES = 12
ROLLOUT_STEPS = 80
# the last frames before the paddle, and the shot that begins a life: who misses it waits for ever
URGENT = 3.0
TEMPERATURE = 4.0  # pixels of error that make an action e times less advisable

_DIRECTION = {RIGHT: 1, LEFT: -1}
_SEQUENCES = np.array(
    list(itertools.product((-1, 0, 1), repeat=3)), np.float64
)  # what may be done in the next three steps


@dataclass(frozen=True, slots=True)
class Sight:
    """What the player knows of the game between two steps; y grows downwards, speeds are per
    step.
    """

    ball: tuple[int, int] | None  # x, y one step ago; None while there is none
    speed: tuple[int, int]
    paddle_speed: float  # in the last frame
    lever: int  # direction of the last action
    landing_x: float | None


_NOTHING = Sight(None, (0, 0), 0.0, 0, None)


class BreakoutExpert:
    """Plays one lane. Call `advise` before and `watch` after each step."""

    facts = 10

    def __init__(self, console: Console, rng: np.random.Generator) -> None:
        self._console = console
        self._copy = Console("breakout")  # where it tries things out
        self._rng = rng
        self.start()

    def start(self) -> None:
        """Forget the game before."""
        self._sight = _NOTHING
        self._place = PLACES[1]

    def advise(self) -> Advice:
        """Return what to do now."""
        before, ram = self._sight.speed, self._console.rams[-1]
        sight = _look(self._console, self._sight)
        turned = np.sign(sight.speed[1]) != np.sign(before[1]) or np.sign(
            sight.speed[0]
        ) != np.sign(before[0])
        if sight.ball is not None and (turned or sight.landing_x is None):
            if (
                sight.speed[1] < 0 < before[1]
            ):  # it was hit: the next one is hit elsewhere, so that no path repeats for ever
                self._place = float(self._rng.choice(PLACES))
            sight = replace(sight, landing_x=self._find_landing())
        self._sight = sight
        if sight.ball is None:
            odds = (0.0, 1.0, 0.0, 0.0)
            return Advice(
                FIRE,
                odds,
                URGENT,
                (
                    0.0,
                    0.0,
                    0.0,
                    0.0,
                    ram[PADDLE_X] / 64 - 2,
                    0.0,
                    float(sight.lever),
                    0.0,
                    0.0,
                    0.0,
                ),
            )
        cost, wanted = _costs(self._console, sight, self._place)
        shares = np.exp((cost.min() - cost) / TEMPERATURE)
        left, hold, right = shares / shares.sum()
        error = wanted - (ram[PADDLE_X] + sight.paddle_speed + 6 * sight.lever)
        seen = (
            sight.ball[0] / 64 - 2,
            sight.ball[1] / 64 - 2,
            sight.speed[0] / 8,
            sight.speed[1] / 8,
            ram[PADDLE_X] / 64 - 2,
        )
        hidden = (
            sight.paddle_speed / 6,
            float(sight.lever),
            float(np.clip(error / 64, -1.5, 1.5)),
            wanted / 64 - 2,
            1.0,
        )
        urgency = 0.3 if sight.speed[1] <= 0 else URGENT if _frames(sight) <= FINE_FRAMES else 1.0
        return Advice(
            (LEFT, HOLD, RIGHT)[int(np.argmin(cost))],
            (hold, 0.0, right, left),
            urgency,
            (*seen, *hidden),
        )

    def watch(self, action: int) -> None:
        """Take in what was done, which need not be what was advised."""
        rams = self._console.rams
        paddle_speed = float(rams[-1, PADDLE_X]) - float(rams[-2, PADDLE_X])
        self._sight = replace(
            self._sight, paddle_speed=paddle_speed, lever=_DIRECTION.get(action, 0)
        )

    def _find_landing(self) -> float | None:
        """Return the x at which the ball will come down to the paddle; None if that is far away."""
        console = self._copy
        console.continue_from(self._console)
        landing, falling, y = None, False, int(console.rams[-1, BALL_Y])
        for _ in range(ROLLOUT_STEPS):
            console.step(HOLD)
            for frame in range(FRAMES_PER_STEP):
                now = int(console.rams[frame, BALL_Y])
                falling, y = now > y, now
                if falling and y >= CONTACT_Y - 2:
                    landing = float(console.rams[frame, BALL_X])
                    break
            if landing is not None or y == 0:
                break
        return landing


def _look(console: Console, sight: Sight) -> Sight:
    """Return what is known once the ball's new position is seen."""
    x, y = int(console.rams[-1, BALL_X]), int(console.rams[-1, BALL_Y])
    if y == 0 or y > 200:
        return replace(sight, ball=None, speed=(0, 0), landing_x=None)
    speed = (0, 0) if sight.ball is None else (x - sight.ball[0], y - sight.ball[1])
    return replace(sight, ball=(x, y), speed=speed)


def _frames(sight: Sight) -> int:
    """Return how many frames a falling ball needs to the paddle."""
    assert sight.ball is not None
    return max(0, math.ceil((CONTACT_Y - sight.ball[1]) * FRAMES_PER_STEP / sight.speed[1]))


def _costs(console: Console, sight: Sight, place: float) -> tuple[NDArray[np.float64], float]:
    """Return what going left, holding and going right cost in pixels, and where the paddle is
    wanted.

    While there is time, that is how far from there the paddle comes to rest; a push moves it by 24
    pixels in the end.
    In the last steps it is the error at contact of the best sequence of three that begins so.
    """
    assert sight.ball is not None
    landing = float(sight.ball[0]) if sight.landing_x is None else sight.landing_x
    wanted = min(max(landing - place, PADDLE_LIMITS_X[0]), PADDLE_LIMITS_X[1])
    paddle = float(console.rams[-1, PADDLE_X])
    frames = _frames(sight) if sight.speed[1] > 0 else FINE_FRAMES + 1
    if frames > FINE_FRAMES:
        return np.abs(wanted - (paddle + sight.paddle_speed + 6 * sight.lever) - _PUSH), wanted
    paths = np.clip(
        paddle + sight.paddle_speed * _FREE + sight.lever * _LEVER + _PUSHED, *PADDLE_LIMITS_X
    )
    met = landing - paths
    cost = np.abs(paths - wanted) + 5 * (
        np.maximum(0, 1 - met) + np.maximum(0, met - 15)
    )  # a miss is worse than the wrong place
    at = min(max(frames, 1), FINE_FRAMES) - 1
    return (cost[:, at] + 0.3 * cost[:, at + 1]).reshape(3, -1).min(axis=1), wanted


def _path(speed: float, lever: float, pushes: tuple[float, ...]) -> list[float]:
    """Return the paddle's way after 1, 2 ... frames; a push takes effect one frame late."""
    behind, covered, path = (
        speed,
        0.0,
        [],
    )  # the lever is as far ahead of the paddle as that moved last
    for frame in range(FINE_FRAMES + 1):
        step = (frame - 1) // FRAMES_PER_STEP
        push = lever if frame == 0 else pushes[step] if step < len(pushes) else 0.0
        behind += 6 * push
        behind /= 2
        covered += behind
        path.append(covered)
    return path


_PUSH = np.array([-24.0, 0.0, 24.0])
_FREE = np.array(_path(1.0, 0.0, ()))
_LEVER = np.array(_path(0.0, 1.0, ()))
_PUSHED = np.array([_path(0.0, 0.0, tuple(sequence)) for sequence in _SEQUENCES])
