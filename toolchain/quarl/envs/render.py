"""The picture of a flight: the arena from above, from the side, and what the drone's level beams
see.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from quarl.envs.canvas import Canvas, Color, Frame
from quarl.envs.flight import (
    ARENA_M,
    BEAM_RANGE_M,
    BEAMS,
    GOAL_RADIUS_M,
    LEVEL_AZIMUTHS_DEG,
    MAX_STEPS,
    STEP_S,
    Flags,
    Flights,
    Floats,
)

WIDTH, HEIGHT = 960, 540
TOP_LEFT, TOP_TOP, TOP_SCALE = (
    24,
    40,
    16.0,
)  # the view from above: its corner in pixels, and pixels per metre
SIDE_LEFT, SIDE_TOP, SIDE_SCALE = 528, 40, 13.6
SEEN_LEFT, SEEN_TOP, SEEN_WIDTH, SEEN_HEIGHT = 528, 228, 408, 96

PAGE: Color = (246, 246, 243)
PANEL: Color = (255, 255, 255)
GRID: Color = (232, 233, 236)
FRAME_LINE: Color = (150, 156, 168)
INK: Color = (38, 44, 58)
FAINT_INK: Color = (120, 126, 140)
LOW: Color = (196, 208, 226)  # obstacles whose top is at the ground ...
HIGH: Color = (52, 74, 122)  # ... and at the ceiling
PATH: Color = (226, 108, 24)
DRONE: Color = (190, 30, 45)
GOAL: Color = (24, 142, 82)
BEAM_FREE: Color = (120, 178, 150)
BEAM_NEAR: Color = (214, 48, 49)


def draw_flight(flights: Flights, lane: int, path: Floats) -> Frame:
    """Return the picture of one lane, uint8 [540, 960, 3].

    Args:
        path: positions [points, 3] since the flight began, metres.
    """
    canvas = Canvas(WIDTH, HEIGHT, PAGE)
    ranges = flights.observe()[lane, : len(BEAMS)]
    _draw_from_above(canvas, flights, lane, path, ranges)
    _draw_from_the_side(canvas, flights, lane, path)
    _draw_seen(canvas, ranges)
    _write_numbers(canvas, flights, lane, ranges)
    return canvas.frame()


def _draw_from_above(
    canvas: Canvas, flights: Flights, lane: int, path: Floats, ranges: Floats
) -> None:
    width, depth, _ = ARENA_M

    def pixel(point: NDArray[np.floating]) -> tuple[float, float]:
        return TOP_LEFT + float(point[0]) * TOP_SCALE, TOP_TOP + (
            depth - float(point[1])
        ) * TOP_SCALE

    canvas.text(TOP_LEFT, TOP_TOP - 22, "from above", INK)
    _draw_panel(canvas, TOP_LEFT, TOP_TOP, width * TOP_SCALE, depth * TOP_SCALE, 5.0 * TOP_SCALE)
    canvas.clip(TOP_LEFT, TOP_TOP, TOP_LEFT + width * TOP_SCALE, TOP_TOP + depth * TOP_SCALE)
    tops = [
        (float(center[2] + half[2]), "box", number)
        for number, (center, half) in enumerate(_boxes(flights, lane))
    ]
    tops += [
        (float(center[2]) + radius, "sphere", number)
        for number, (center, radius) in enumerate(_spheres(flights, lane))
    ]
    for top, kind, number in sorted(tops):  # what is higher hides what is lower
        if kind == "box":
            center, half = _boxes(flights, lane)[number]
            (left, upper), (right, lower) = (
                pixel(center + half * (-1, 1, 0)),
                pixel(center + half * (1, -1, 0)),
            )
            canvas.rectangle(left, upper, right, lower, _shade(top * 0.8))
            canvas.rectangle(left + 1.5, upper + 1.5, right - 1.5, lower - 1.5, _shade(top))
        else:
            center, radius = _spheres(flights, lane)[number]
            x, y = pixel(center)
            canvas.disc(x, y, radius * TOP_SCALE, _shade(top * 0.8))
            canvas.disc(x, y, radius * TOP_SCALE - 1.5, _shade(top))
            canvas.disc(
                x - 0.3 * radius * TOP_SCALE,
                y - 0.3 * radius * TOP_SCALE,
                0.35 * radius * TOP_SCALE,
                PANEL,
                0.25,
            )

    position, goal = flights.position[lane], flights.goal[lane]
    x, y = pixel(position)
    cos, sin = (float(part) for part in flights.heading[lane])
    for beam in range(len(LEVEL_AZIMUTHS_DEG)):
        reach = float(ranges[beam])
        forward, left_part = float(BEAMS[beam, 0]), float(BEAMS[beam, 1])
        toward = np.array((cos * forward - sin * left_part, sin * forward + cos * left_part))
        end = pixel(position[:2] + reach * toward)
        canvas.line((x, y), end, 1.0, _beam_color(reach), 0.55)
        if reach < BEAM_RANGE_M:
            canvas.disc(*end, 2.0, _beam_color(reach))
    _draw_path(canvas, [pixel(point) for point in path], _is_under(flights, lane, path))
    _draw_goal(canvas, *pixel(goal), GOAL_RADIUS_M * TOP_SCALE)
    _draw_drone(canvas, x, y, cos, -sin)
    canvas.clip(0, 0, WIDTH, HEIGHT)


def _draw_from_the_side(canvas: Canvas, flights: Flights, lane: int, path: Floats) -> None:
    """Draw the arena as seen along the ground at right angles to the flight, which goes to the
    right.
    """
    width, _, height = ARENA_M
    along = int(abs(flights.goal[lane, 1] - path[0, 1]) > abs(flights.goal[lane, 0] - path[0, 0]))
    forward = bool(flights.goal[lane, along] > path[0, along])

    def pixel(point: NDArray[np.floating]) -> tuple[float, float]:
        distance = float(point[along]) if forward else width - float(point[along])
        return SIDE_LEFT + distance * SIDE_SCALE, SIDE_TOP + (height - float(point[2])) * SIDE_SCALE

    canvas.text(SIDE_LEFT, SIDE_TOP - 22, "from the side", INK)
    _draw_panel(
        canvas, SIDE_LEFT, SIDE_TOP, width * SIDE_SCALE, height * SIDE_SCALE, 5.0 * SIDE_SCALE
    )
    canvas.clip(SIDE_LEFT, SIDE_TOP, SIDE_LEFT + width * SIDE_SCALE, SIDE_TOP + height * SIDE_SCALE)
    for center, half in _boxes(flights, lane):
        x, upper = pixel(center + half * (0, 0, 1))
        reach = float(half[along]) * SIDE_SCALE
        canvas.rectangle(
            x - reach,
            upper,
            x + reach,
            SIDE_TOP + height * SIDE_SCALE,
            _shade(float(center[2] + half[2])),
            0.4,
        )
    for center, radius in _spheres(flights, lane):
        canvas.disc(*pixel(center), radius * SIDE_SCALE, _shade(float(center[2]) + radius), 0.4)
    _draw_path(canvas, [pixel(point) for point in path], np.zeros(len(path), np.bool_))
    _draw_goal(canvas, *pixel(flights.goal[lane]), GOAL_RADIUS_M * SIDE_SCALE)
    canvas.disc(*pixel(flights.position[lane]), 5.0, DRONE)
    canvas.clip(0, 0, WIDTH, HEIGHT)


def _draw_seen(canvas: Canvas, ranges: Floats) -> None:
    """Draw the level beams as bars, from behind on the left over straight ahead to behind on the
    right; short is near.
    """
    canvas.text(SEEN_LEFT, SEEN_TOP - 22, "what the level beams see", INK)
    canvas.rectangle(SEEN_LEFT, SEEN_TOP, SEEN_LEFT + SEEN_WIDTH, SEEN_TOP + SEEN_HEIGHT, PANEL)
    azimuths = [*LEVEL_AZIMUTHS_DEG, -180]
    order = sorted(range(len(azimuths)), key=lambda beam: -azimuths[beam])
    pitch = SEEN_WIDTH / len(order)
    for place, beam in enumerate(order):
        reach = float(ranges[beam % len(LEVEL_AZIMUTHS_DEG)])
        left = SEEN_LEFT + place * pitch
        canvas.rectangle(
            left + 2,
            SEEN_TOP + SEEN_HEIGHT * (1 - reach / BEAM_RANGE_M),
            left + pitch - 2,
            SEEN_TOP + SEEN_HEIGHT,
            _beam_color(reach),
        )
    below = SEEN_TOP + SEEN_HEIGHT + 8
    for words, share in (
        ("behind", 0.0),
        ("left", 0.25),
        ("ahead", 0.5),
        ("right", 0.75),
        ("behind", 1.0),
    ):
        long = len(words) * 6
        canvas.text(int(SEEN_LEFT + share * (SEEN_WIDTH - long)), below, words, FAINT_INK, 1)


def _write_numbers(canvas: Canvas, flights: Flights, lane: int, ranges: Floats) -> None:
    steps = int(flights.steps[lane])
    speed = float(np.linalg.norm(flights.velocity[lane]))
    touches = bool(flights.touches()[lane])
    lines = (
        ("to the goal", f"{float(flights.distance[lane]):5.1f} m"),
        ("speed", f"{speed:5.1f} m/s"),
        ("height", f"{float(flights.position[lane, 2]):5.1f} m"),
        ("nearest beam", f"{float(ranges.min()):5.1f} m"),
        ("time", f"{steps * STEP_S:5.1f} s"),
    )
    top = 364
    for number, (name, value) in enumerate(lines):
        canvas.text(SEEN_LEFT, top + 26 * number, name, FAINT_INK)
        canvas.text(SEEN_LEFT + 168, top + 26 * number, value, INK)
    if touches:
        canvas.text(SEEN_LEFT, top + 26 * len(lines) + 8, "crashed", BEAM_NEAR, 3)
    elif flights.distance[lane] < GOAL_RADIUS_M:
        canvas.text(SEEN_LEFT, top + 26 * len(lines) + 8, "arrived", GOAL, 3)
    elif steps >= MAX_STEPS:
        canvas.text(SEEN_LEFT, top + 26 * len(lines) + 8, "out of time", INK, 3)
    left = SEEN_LEFT + 300
    legend = (
        ("drone", DRONE),
        ("path", PATH),
        ("goal", GOAL),
        ("obstacle low", LOW),
        ("obstacle high", HIGH),
    )
    for number, (words, color) in enumerate(legend):
        canvas.disc(left + 6, top + 26 * number + 7, 6.0, color)
        canvas.text(left + 20, top + 26 * number + 4, words, FAINT_INK, 1)


def _draw_panel(
    canvas: Canvas, left: float, top: float, width: float, height: float, pitch: float
) -> None:
    canvas.rectangle(left - 1, top - 1, left + width + 1, top + height + 1, FRAME_LINE)
    canvas.rectangle(left, top, left + width, top + height, PANEL)
    for number in range(1, math.ceil(width / pitch)):
        canvas.rectangle(
            left + number * pitch - 0.5, top, left + number * pitch + 0.5, top + height, GRID
        )
    for number in range(1, math.ceil(height / pitch)):
        canvas.rectangle(
            left, top + number * pitch - 0.5, left + width, top + number * pitch + 0.5, GRID
        )


def _draw_path(canvas: Canvas, points: list[tuple[float, float]], hidden: Flags) -> None:
    """Draw the way flown, faint where something hides it."""
    for (start, end), is_hidden in zip(pairwise(points), hidden[1:], strict=True):
        canvas.line(start, end, 3.0, PATH, 0.25 if is_hidden else 1.0)
    canvas.ring(*points[0], 5.0, 2.0, PATH)


def _draw_goal(canvas: Canvas, x: float, y: float, radius: float) -> None:
    canvas.disc(x, y, radius, GOAL, 0.25)
    canvas.ring(x, y, radius, 2.5, GOAL)
    canvas.disc(x, y, 3.0, GOAL)


def _draw_drone(canvas: Canvas, x: float, y: float, cos: float, sin: float) -> None:
    def corner(ahead: float, aside: float) -> tuple[float, float]:
        return x + ahead * cos - aside * sin, y + ahead * sin + aside * cos

    canvas.triangle((corner(13, 0), corner(-8, 8), corner(-8, -8)), DRONE)


def _is_under(flights: Flights, lane: int, path: Floats) -> Flags:
    """Return which points [points, 3] lie under an obstacle."""
    hidden = np.zeros(len(path), np.bool_)
    for center, half in _boxes(flights, lane):
        hidden |= (np.abs(path[:, :2] - center[:2]) < half[:2]).all(axis=1) & (
            path[:, 2] < center[2]
        )
    for center, radius in _spheres(flights, lane):
        hidden |= (np.hypot(*(path[:, :2] - center[:2]).T) < radius) & (path[:, 2] < center[2])
    return hidden


def _boxes(flights: Flights, lane: int) -> list[tuple[Floats, Floats]]:
    return [
        (center, half)
        for center, half in zip(flights.box_center[lane], flights.box_half[lane], strict=True)
        if center[0] <= ARENA_M[0]
    ]


def _spheres(flights: Flights, lane: int) -> list[tuple[Floats, float]]:
    pairs = zip(flights.sphere_center[lane], flights.sphere_radius[lane], strict=True)
    return [(center, float(radius)) for center, radius in pairs if center[0] <= ARENA_M[0]]


def _shade(top_m: float) -> Color:
    return _mix(LOW, HIGH, top_m / ARENA_M[2])


def _beam_color(reach_m: float) -> Color:
    return _mix(BEAM_NEAR, BEAM_FREE, (reach_m - 0.5) / 3.0)


def _mix(first: Color, second: Color, share: float) -> Color:
    share = min(max(share, 0.0), 1.0)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue
