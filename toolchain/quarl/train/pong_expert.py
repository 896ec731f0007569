"""A Pong player that reads the console's memory, to teach a network that sees only the screen.

In: a `Console` that runs Pong. Out: the action an expert would take there. It wins 21 to 0 or
nearly so.
What it knows of the game was measured, not looked up:
- The ball meets the player's paddle at x = 188. Where it meets it (ball y - paddle y, -2 to 16)
  decides how steeply it leaves.
- The paddle follows a hidden lever: every two frames it covers half the distance to it, and the
  lever moves 12 pixels in that time.
- The fire button makes the return faster. The opponent cannot follow some of the steep fast ones.
Which return wins depends on where the opponent is: when the ball turns toward the player, the
expert tries every zone of the paddle on a copy of the console, and keeps the first that scores.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quarl.envs.atari import FRAMES_PER_STEP, Console
from quarl.train.expert import Advice

BALL_X, BALL_Y, PADDLE_Y = 49, 54, 51  # addresses in memory
UP, HOLD, DOWN = 4, 1, 5  # actions of the minimal set, each with the fire button
WALLS_Y = (45.0, 206.5)  # the ball turns here
PADDLE_LIMITS_Y = (38.0, 203.0)
CONTACT_X = 189
ZONES = (
    -0.3,
    14.3,
    10.5,
    2.5,
    6.5,
)  # ball y - paddle y at contact: steep up, steep down, down, up, level
WAITING_Y = 126.0
ROLLOUT_STEPS = 120
FINE_HALF_STEPS = 6
# how often a return that wins nothing is drawn at random: two perfect players would never end a
# rally
STRAY = 0.3

TEMPERATURE = 4.0  # pixels of error that make an action e times less advisable
FACTS = 9

_DIRECTION = {2: -1, 4: -1, 3: 1, 5: 1}  # of the lever, by action
_SEQUENCES = np.array(
    list(itertools.product((-1, 0, 1), repeat=3)), np.float64
)  # what may be done in the next three steps
_HALF_STEPS = 9


@dataclass(frozen=True, slots=True)
class Sight:
    """What the player knows of the game between two steps; y grows downwards, speeds are per
    step.
    """

    ball: tuple[int, int] | None  # x, y one step ago
    speed: tuple[int, int]  # of the ball; (0, 0) where unknown
    paddle_speed: float  # in the last two frames
    lever: int  # direction of the last action
    arrival_y: float | None  # where the ball will meet the paddle's column


_NOTHING = Sight(None, (0, 0), 0.0, 0, None)


class PongExpert:
    """Plays one lane. Call `advise` before and `watch` after each step."""

    facts = FACTS

    def __init__(self, console: Console, rng: np.random.Generator) -> None:
        self._console = console
        self._copy = Console("pong")  # where it tries things out
        self._rng = rng
        self.start()

    def start(self) -> None:
        """Forget the game before."""
        self._sight = _NOTHING
        self._zone = ZONES[-1]
        self._steps_toward = 0

    def advise(self) -> Advice:
        """Return what to do now."""
        sight = self._sight = _look(self._console, self._sight)
        toward = sight.speed[0] > 0
        self._steps_toward = self._steps_toward + 1 if toward else 0
        if (
            self._steps_toward == 2
        ):  # in the first step the speed is still a mixture of before and after the turn
            self._zone = self._find_zone()
        cost, wanted = _costs(self._console, sight, self._zone)
        shares = np.exp((cost.min() - cost) / TEMPERATURE)
        odds = np.zeros(len(self._console.actions))
        odds[[UP, HOLD, DOWN]] = shares / shares.sum()
        ball, ram = sight.ball, self._console.rams[-1]
        assert ball is not None
        error = wanted - (ram[PADDLE_Y] + sight.paddle_speed + 6 * sight.lever)
        seen = (
            ball[0] / 128 - 1,
            ball[1] / 128 - 1,
            sight.speed[0] / 16,
            sight.speed[1] / 12,
            ram[PADDLE_Y] / 128 - 1,
        )
        hidden = (
            sight.paddle_speed / 12,
            float(sight.lever),
            float(np.clip(error / 64, -1.5, 1.5)),
            wanted / 128 - 1,
        )
        urgency = 0.3 if not toward else 3.0 if CONTACT_X - ball[0] < 4 * sight.speed[0] else 1.0
        return Advice(
            (UP, HOLD, DOWN)[int(np.argmin(cost))], tuple(odds), urgency, (*seen, *hidden)
        )

    def watch(self, action: int) -> None:
        """Take in what was done, which need not be what was advised."""
        self._sight = _moved(self._console, self._sight, action)

    def _find_zone(self) -> float:
        """Return the zone that wins the point, else one that keeps the ball in play."""
        first = (0, 1) if (self._sight.arrival_y or 0.0) >= 104.0 else (1, 0)
        in_play = []
        for zone in (ZONES[first[0]], ZONES[first[1]], *ZONES[2:]):
            points = self._try(zone)
            if points > 0:
                return zone
            if points == 0:
                in_play.append(zone)
        if not in_play:
            return ZONES[-1]
        return (
            in_play[int(self._rng.integers(len(in_play)))]
            if self._rng.random() < STRAY
            else in_play[0]
        )

    def _try(self, zone: float) -> float:
        """Return the points scored until the opponent has returned the ball, when it is hit with
        this zone.
        """
        console, sight = self._copy, self._sight
        console.continue_from(self._console)
        points, returned = 0.0, False
        for _ in range(ROLLOUT_STEPS):
            action = _steer(console, sight, zone)
            points = console.step(action)
            if points or console.ale.game_over():
                break
            sight = _look(console, _moved(console, sight, action))
            if sight.speed[0] < 0:
                returned = True
            elif returned and sight.speed[0] > 0:
                break
        return points


def _look(console: Console, sight: Sight) -> Sight:
    """Return what is known once the ball's new position is seen."""
    x, y = int(console.rams[-1, BALL_X]), int(console.rams[-1, BALL_Y])
    vx = vy = 0
    if sight.ball is not None and y and sight.ball[1]:
        vx, vy = x - sight.ball[0], y - sight.ball[1]
        if abs(vx) > 24:  # served anew
            vx = vy = 0
    arrival = sight.arrival_y
    if vx <= 0:
        arrival = None
    elif x < CONTACT_X - 2 and (
        arrival is None or 54 < y < 198
    ):  # close to a wall the speed is a mixture of before and after it
        arrival = _folded(y + vy * max(0, CONTACT_X - x) / vx)
    elif arrival is None:
        arrival = float(y)
    return replace(sight, ball=(x, y), speed=(vx, vy), arrival_y=arrival)


def _moved(console: Console, sight: Sight, action: int) -> Sight:
    paddle_speed = float(console.rams[-1, PADDLE_Y]) - float(
        console.rams[FRAMES_PER_STEP // 2 - 1, PADDLE_Y]
    )
    return replace(sight, paddle_speed=paddle_speed, lever=_DIRECTION.get(action, 0))


def _steer(console: Console, sight: Sight, zone: float) -> int:
    """Return the action that brings the paddle where it is wanted."""
    return (UP, HOLD, DOWN)[int(np.argmin(_costs(console, sight, zone)[0]))]


def _costs(console: Console, sight: Sight, zone: float) -> tuple[NDArray[np.float64], float]:
    """Return what going up, holding and going down cost in pixels, and where the paddle is wanted.

    While there is time, that is how far from there the paddle comes to rest; a push moves it by 24
    pixels in the end.
    In the last steps it is the error at contact of the best sequence of three that begins so.
    """
    assert sight.ball is not None
    paddle = float(console.rams[-1, PADDLE_Y])
    arrival, half_steps = sight.arrival_y, FINE_HALF_STEPS + 1
    wanted = WAITING_Y - ZONES[-1]
    if arrival is not None:
        wanted = min(max(arrival - zone, PADDLE_LIMITS_Y[0] + 1), PADDLE_LIMITS_Y[1] - 1)
        half_steps = (
            math.ceil(max(0, CONTACT_X - sight.ball[0]) * FRAMES_PER_STEP / sight.speed[0]) // 2
        )
    if arrival is None or half_steps > FINE_HALF_STEPS:
        return np.abs(wanted - (paddle + sight.paddle_speed + 6 * sight.lever) - _PUSH), wanted
    paths = np.clip(
        paddle + sight.paddle_speed * _FREE + sight.lever * _LEVER + _PUSHED, *PADDLE_LIMITS_Y
    )
    met = arrival - paths
    cost = np.abs(paths - wanted) + 10 * (
        np.maximum(0, -1 - met) + np.maximum(0, met - 15)
    )  # a miss is worse than the wrong zone
    return (cost @ _WEIGHTS[max(1, half_steps)]).reshape(3, -1).min(axis=1), wanted


def _folded(y: float) -> float:
    """Return where a ball is that would be at `y` if there were no walls."""
    low, high = WALLS_Y
    span = high - low
    folded = (y - low) % (2 * span)
    return low + (folded if folded <= span else 2 * span - folded)


def _path(speed: float, lever: float, pushes: tuple[float, ...]) -> list[float]:
    """Return the paddle's way after 1, 2 ... half steps (two frames each); a push takes effect in
    the middle of the first.
    """
    covered, path = 0.0, []
    for half in range(_HALF_STEPS):
        push = pushes[half // 2] if half // 2 < len(pushes) else 0.0
        if half % 2 == 0:
            speed = speed / 2 + 3 * (lever + push)
        else:
            speed, lever = speed / 2 + 6 * push, push
        covered += speed
        path.append(covered)
    return path


def _weights(half_steps: int) -> list[float]:
    """Return what the error after each half step counts: all at contact, some just after it, next
    to nothing before.
    """
    return [
        1.0 if half == half_steps else 0.1 if half == half_steps + 1 else 0.02 * (half < half_steps)
        for half in range(1, 10)
    ]


_PUSH = np.array([-24.0, 0.0, 24.0])
_FREE = np.array(_path(1.0, 0.0, ()))
_LEVER = np.array(_path(0.0, 1.0, ()))
_PUSHED = np.array([_path(0.0, 0.0, tuple(sequence)) for sequence in _SEQUENCES])
_WEIGHTS = np.array([_weights(half_steps) for half_steps in range(_HALF_STEPS)])
