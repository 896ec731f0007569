"""The same seeds, played by both: flights on the map, or frames of a game."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from quarl.envs.flight import ARENA_M, DRONE_RADIUS_M, GOAL_RADIUS_M, STEP_S
from quarl.reports import svg
from quarl.reports.contents import Contents
from quarl.reports.numbers import number
from quarl.reports.page import Cell, Column, Figure, Gallery, Note, Part, Section, Table
from quarl.reports.png import data_uri
from quarl.reports.replay import Flight, Frames, NotReplayed, Track
from quarl.reports.sections.film import film_figure

_PIXELS_PER_M = 12.0
_MARGIN = 2.0
_CLOSE, _CLOSE_PIXELS_PER_M = 128.0, 64.0
_FRAME, _GAP, _LEFT = 112.0, 6.0, 58.0


def episodes(contents: Contents) -> Section:
    """Return the section of the replayed episodes."""
    replay = contents.replay
    lead = "What source and int8 policy do on the same seeds, played again for this page."
    parts: tuple[Part, ...]
    filmed = () if contents.animation is None else (film_figure(contents.animation),)
    if isinstance(replay, NotReplayed):
        if not filmed:
            lead = "What source and int8 policy do on the same seeds."
        parts = () if filmed else (Note(replay.reason, True),)
    elif isinstance(replay, Frames):
        parts = (_strip(replay),)
    else:
        parts = (Gallery(tuple(_map(flight) for flight in replay), _key()), *_doubts(replay))
    return Section("episodes", "Same seeds, side by side", lead, (*filmed, *parts))


def _doubts(flights: tuple[Flight, ...]) -> tuple[Note, ...]:
    other = [str(flight.seed) for flight in flights if not flight.is_recorded]
    words = (
        f"Played again here, seed {', '.join(other)} gives another return than parity "
        "recorded: this machine rounds differently."
    )
    return (Note(words),) if other else ()


def _map(flight: Flight) -> Figure:
    width, depth = ARENA_M[0] * _PIXELS_PER_M, ARENA_M[1] * _PIXELS_PER_M
    whole = _View(_MARGIN, _MARGIN, width, depth, _PIXELS_PER_M, 0.0, ARENA_M[1])
    close_up = _close_up(flight, whole)
    parts = _scene(flight, whole, f"arena-{flight.seed}") + close_up
    words = (
        f"Int8 {flight.int8.outcome}, {_seconds(flight.int8)}, return {number(flight.int8.total)};"
        f" source {flight.source.outcome}, {_seconds(flight.source)}, return "
        f"{number(flight.source.total)}."
        f" At most {number(flight.apart_m, 2)} m apart while both "
        f"fly.{' Enlarged: the moment of the collision.' if close_up else ''}"
    )
    title = f"Seed {flight.seed}: {flight.reason}"
    label = f"Flight of seed {flight.seed} from above. {words}"
    return Figure(title, svg.drawing(width + 2 * _MARGIN, depth + 2 * _MARGIN, label, parts), words)


@dataclass(frozen=True, slots=True)
class _View:
    """A stretch of the ground, drawn into a rectangle."""

    left: float
    top: float
    width: float
    height: float
    scale: float  # units of the drawing for a metre
    x_m: float  # what lies at the left edge ...
    y_m: float  # ... and at the upper one

    def __call__(self, x_m: float, y_m: float) -> svg.Point:
        return self.left + (x_m - self.x_m) * self.scale, self.top + (self.y_m - y_m) * self.scale

    def track(self, track: Track) -> list[svg.Point]:
        """Return where a track runs."""
        return [self(x, y) for x, y, _ in track.points.tolist()]


def _scene(flight: Flight, view: _View, name: str) -> list[Markup]:
    """Draw what a view shows; `name` is the page's name for its outline."""
    low, high = _heights(flight)
    off: list[Markup] = []  # obstacles above or below the flight
    solid: list[Markup] = []
    for (x, y, z), (along, across, up) in flight.boxes.tolist():
        left, top = view(x - along, y + across)
        is_near = z - up <= high and z + up >= low
        shape = svg.rectangle(
            left,
            top,
            2 * along * view.scale,
            2 * across * view.scale,
            "obstacle" if is_near else "obstacle-off",
        )
        (solid if is_near else off).append(shape)
    for x, y, z, radius in flight.spheres.tolist():
        is_near = z - radius <= high and z + radius >= low
        (solid if is_near else off).append(
            svg.disc(view(x, y), radius * view.scale, "obstacle" if is_near else "obstacle-off")
        )
    goal_x, goal_y, _ = flight.goal.tolist()
    start_x, start_y, _ = flight.source.points[0].tolist()
    outline = svg.element("rect", x=view.left, y=view.top, width=view.width, height=view.height)
    inside = [
        *off,
        *solid,
        svg.path(view.track(flight.source), "path-source"),
        svg.path(view.track(flight.int8), "path-int8"),
        svg.disc(view(goal_x, goal_y), GOAL_RADIUS_M * view.scale, "goal"),
        svg.disc(view(start_x, start_y), 4.5, "start"),
    ]
    return [
        svg.rectangle(view.left, view.top, view.width, view.height, "arena"),
        svg.element("clipPath", outline, id=name),
        svg.element("g", *inside, clip_path=f"url(#{name})"),
        *(
            svg.disc(view.track(track)[-1], 8, "ring")
            for track in (flight.source,)
            if track.outcome != "arrived"
        ),
        *(
            svg.cross(view.track(track)[-1], 6, "cross heavy")
            for track in (flight.int8,)
            if track.outcome != "arrived"
        ),
    ]


def _close_up(flight: Flight, whole: _View) -> list[Markup]:
    """Draw the place where one of the two fails, larger, with both drones at that moment; nothing
    where both fare alike.
    """
    failed = [track for track in (flight.source, flight.int8) if track.outcome == "collided"]
    if len(failed) != 1:
        return []
    step = len(failed[0].points) - 1
    x, y, _ = failed[0].points[-1].tolist()
    reach = _CLOSE / _CLOSE_PIXELS_PER_M / 2
    paths = [
        *whole.track(flight.source),
        *whole.track(flight.int8),
        whole(*flight.goal.tolist()[:2]),
    ]
    edges = (whole.left + 4, whole.left + whole.width - _CLOSE - 4)
    corners = [(left, top) for left in edges for top in edges]
    middle = _CLOSE / 2
    left, top = max(
        corners,
        key=lambda corner: min(
            math.dist((corner[0] + middle, corner[1] + middle), point) for point in paths
        ),
    )
    view = _View(left, top, _CLOSE, _CLOSE, _CLOSE_PIXELS_PER_M, x - reach, y + reach)
    drones = [(flight.source, "drone-source"), (flight.int8, "drone-int8")]
    corner = whole(x - reach, y + reach)
    return [
        svg.rectangle(*corner, 2 * reach * whole.scale, 2 * reach * whole.scale, "looked-at"),
        *_scene(flight, view, f"close-{flight.seed}"),
        *(
            svg.disc(view(*track.points[step].tolist()[:2]), DRONE_RADIUS_M * view.scale, css)
            for track, css in drones
            if step < len(track.points)
            and math.dist(track.points[step].tolist(), failed[0].points[-1].tolist())
            < reach - DRONE_RADIUS_M
        ),
    ]


def _heights(flight: Flight) -> tuple[float, float]:
    """Return the lowest and highest place that either drone reaches, its body included."""
    lows = [float(track.points[:, 2].min()) for track in (flight.source, flight.int8)]
    highs = [float(track.points[:, 2].max()) for track in (flight.source, flight.int8)]
    return min(lows) - DRONE_RADIUS_M, max(highs) + DRONE_RADIUS_M


def _seconds(track: Track) -> str:
    return f"{number((len(track.points) - 1) * STEP_S, 3)} s"


def _key() -> tuple[tuple[Markup, str], ...]:
    def sample(*parts: Markup) -> Markup:
        return svg.element("svg", *parts, viewBox="0 0 28 14", aria_hidden="true")

    return (
        (sample(svg.line((2, 7), (26, 7), "path-source")), "source, float32"),
        (sample(svg.line((2, 7), (26, 7), "path-int8")), "int8"),
        (sample(svg.disc((14, 7), 4.5, "start")), "start"),
        (sample(svg.disc((14, 7), 5.5, "goal")), "goal"),
        (sample(svg.cross((14, 7), 4.5, "cross heavy")), "int8 fails here"),
        (sample(svg.disc((14, 7), 5.5, "ring")), "source fails here"),
        (sample(svg.rectangle(8, 2, 12, 10, "obstacle")), "obstacle at the flight's height"),
        (sample(svg.rectangle(8, 2, 12, 10, "obstacle-off")), "above or below it"),
    )


def _strip(frames: Frames) -> Figure:
    """Draw the frames of both, one row each."""
    count = len(frames.steps)
    columns = min(count, 3)
    blocks = -(-count // columns)
    block_height = 2 * _FRAME + _GAP + 26
    width = _LEFT + columns * (_FRAME + _GAP)
    parts = []
    for place, step in enumerate(frames.steps):
        x, y = _LEFT + place % columns * (_FRAME + _GAP), place // columns * block_height + 16
        parts.append(svg.text(x, y - 4, f"decision {step}", "tick"))
        for row, picture in enumerate((frames.source[place], frames.int8[place])):
            top = y + row * (_FRAME + 2)
            parts.append(
                svg.element(
                    "image",
                    href=data_uri(picture),
                    x=x,
                    y=top,
                    width=_FRAME,
                    height=_FRAME,
                    class_="frame",
                )
            )
            if place % columns == 0:
                parts.append(svg.text(0, top + _FRAME / 2, ("source", "int8")[row], "label"))
    if frames.first_difference is None:
        words = f"All of the first {frames.played} decisions are the same."
    else:
        words = (
            f"The actions differ for the first time at decision {frames.first_difference} "
            f"of the first {frames.played}."
        )
    same = sum(bool((a == b).all()) for a, b in zip(frames.source, frames.int8, strict=True))
    table = Table(
        "Whether source and int8 see the same picture",
        (Column("decision"), Column("picture")),
        tuple(
            (Cell(str(step)), Cell("the same" if bool((a == b).all()) else "another"))
            for step, a, b in zip(frames.steps, frames.source, frames.int8, strict=True)
        ),
    )
    label = (
        f"Frames of seed {frames.seed}, source above int8. {words} {same} of {count} "
        "pictures are the same."
    )
    return Figure(
        f"Seed {frames.seed}: {frames.reason}",
        svg.drawing(width, blocks * block_height, label, parts),
        words,
        table,
    )
