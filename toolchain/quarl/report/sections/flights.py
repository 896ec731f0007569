"""The same seeds, played by both: flights on the map, or frames of a game."""

from __future__ import annotations

from markupsafe import Markup

from quarl.envs.flight import ARENA_M, DRONE_RADIUS_M, GOAL_RADIUS_M, STEP_S
from quarl.report import svg
from quarl.report.contents import Contents
from quarl.report.numbers import number
from quarl.report.page import Cell, Column, Figure, Gallery, Note, Part, Section, Table
from quarl.report.png import data_uri
from quarl.report.replay import Flight, Frames, NotReplayed, Track

_PIXELS_PER_M = 12.0
_MARGIN = 2.0
_FRAME, _GAP, _LEFT = 112.0, 6.0, 58.0


def episodes(contents: Contents) -> Section:
    """Return the section of the replayed episodes."""
    replay = contents.replay
    lead = "Source and int8 policy on the same seeds, played again for this page."
    parts: tuple[Part, ...]
    if isinstance(replay, NotReplayed):
        parts = (Note(replay.reason, True),)
    elif isinstance(replay, Frames):
        parts = (_strip(replay),)
    else:
        parts = (Gallery(tuple(_map(flight) for flight in replay), _key()), *_doubts(replay))
    return Section("episodes", "Same seeds, side by side", lead, parts)


def _doubts(flights: tuple[Flight, ...]) -> tuple[Note, ...]:
    other = [str(flight.seed) for flight in flights if not flight.is_recorded]
    words = f"Played again here, seed {', '.join(other)} gives another return than parity recorded: this machine rounds otherwise."
    return (Note(words),) if other else ()


def _map(flight: Flight) -> Figure:
    width, depth, _ = (edge * _PIXELS_PER_M for edge in ARENA_M)
    low, high = _heights(flight)
    off: list[Markup] = []  # obstacles above or below the flight
    solid: list[Markup] = []
    for center, half in flight.boxes:
        (left, top), (right, bottom) = _at(center - half * (1, -1, 1)), _at(center + half * (1, -1, 1))
        is_near = center[2] - half[2] <= high and center[2] + half[2] >= low
        shape = svg.rectangle(left, top, right - left, bottom - top, "obstacle" if is_near else "obstacle-off")
        (solid if is_near else off).append(shape)
    for x, y, z, radius in flight.spheres.tolist():
        is_near = z - radius <= high and z + radius >= low
        shape = svg.disc(_at((x, y)), radius * _PIXELS_PER_M, "obstacle" if is_near else "obstacle-off")
        (solid if is_near else off).append(shape)
    parts = [
        svg.rectangle(_MARGIN, _MARGIN, width, depth, "arena"),
        svg.element("clipPath", svg.element("rect", x=_MARGIN, y=_MARGIN, width=width, height=depth), id=f"arena-{flight.seed}"),
        svg.element("g", *off, *solid, clip_path=f"url(#arena-{flight.seed})"),
        svg.path([_at(point) for point in flight.source.points], "path-source"),
        svg.path([_at(point) for point in flight.int8.points], "path-int8"),
        svg.disc(_at(flight.goal), GOAL_RADIUS_M * _PIXELS_PER_M, "goal"),
        svg.disc(_at(flight.source.points[0]), 4.5, "start"),
        *_end(flight.source, "ring"),
        *_end(flight.int8, "cross"),
    ]
    words = f"Int8 {flight.int8.outcome}, {_seconds(flight.int8)}, return {number(flight.int8.total)};" + (
        f" source {flight.source.outcome}, {_seconds(flight.source)}, return {number(flight.source.total)}."
        f" At most {number(flight.apart_m, 2)} m apart while both fly."
    )
    title = f"Seed {flight.seed}: {flight.reason}"
    label = f"Flight of seed {flight.seed} from above. {words}"
    return Figure(title, svg.drawing(width + 2 * _MARGIN, depth + 2 * _MARGIN, label, parts), words)


def _heights(flight: Flight) -> tuple[float, float]:
    """Return the lowest and highest place that either drone reaches, its body included."""
    lows = [float(track.points[:, 2].min()) for track in (flight.source, flight.int8)]
    highs = [float(track.points[:, 2].max()) for track in (flight.source, flight.int8)]
    return min(lows) - DRONE_RADIUS_M, max(highs) + DRONE_RADIUS_M


def _at(point: object) -> svg.Point:
    x, y, *_ = (float(part) for part in point)  # type: ignore[attr-defined]
    return _MARGIN + x * _PIXELS_PER_M, _MARGIN + (ARENA_M[1] - y) * _PIXELS_PER_M


def _end(track: Track, css: str) -> list[Markup]:
    """Mark where a flight ended badly."""
    if track.outcome == "arrived":
        return []
    x, y = _at(track.points[-1])
    if css == "ring":
        return [svg.disc((x, y), 8, "ring")]
    return [svg.cross((x, y), 6, "cross heavy")]


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
            parts.append(svg.element("image", href=data_uri(picture), x=x, y=top, width=_FRAME, height=_FRAME, class_="frame"))
            if place % columns == 0:
                parts.append(svg.text(0, top + _FRAME / 2, ("source", "int8")[row], "label"))
    if frames.first_difference is None:
        words = f"All of the first {frames.played} decisions are the same."
    else:
        words = f"The actions differ for the first time at decision {frames.first_difference} of the first {frames.played}."
    same = sum(bool((a == b).all()) for a, b in zip(frames.source, frames.int8, strict=True))
    table = Table(
        "Whether source and int8 see the same picture",
        (Column("decision"), Column("picture")),
        tuple(
            (Cell(str(step)), Cell("the same" if bool((a == b).all()) else "another"))
            for step, a, b in zip(frames.steps, frames.source, frames.int8, strict=True)
        ),
    )
    label = f"Frames of seed {frames.seed}, source above int8. {words} {same} of {count} pictures are the same."
    return Figure(f"Seed {frames.seed}: {frames.reason}", svg.drawing(width, blocks * block_height, label, parts), words, table)
