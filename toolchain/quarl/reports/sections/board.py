"""What one decision costs on the board: where the cycles go, and how near each layer comes to what
the core can do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from markupsafe import Markup

from quarl.boards.core import Core, CoreLimit
from quarl.boards.cores import CORES
from quarl.profiles.emulated import FirmwareProfile
from quarl.reports import svg
from quarl.reports.axes import Scale, frame
from quarl.reports.contents import Contents
from quarl.reports.numbers import fixed, number, percent, size, time
from quarl.reports.page import Cell, Column, Facts, Figure, Gallery, Note, Part, Section, Table
from quarl.reports.sections.pi import on_pi
from quarl.reports.sections.wording import kind_tag
from quarl.reports.work import LayerWork

_TITLE = "On the board"
_WIDTH, _HEIGHT = 420.0, 340.0
_DISC = 9.0  # radius of a layer's mark


def board(contents: Contents) -> Section:
    """Return the section of the firmware."""
    profile = contents.firmware
    if profile is None and contents.on_pi is not None:
        section = on_pi(contents.on_pi)
        return replace(section, parts=(*section.parts, *_ways(contents)))
    if profile is None:
        name = contents.manifest.board
        if name is None:
            words = (
                "The bundle was exported without a board, so there is no firmware to "
                "count: quarl ship SOURCE --board NAME."
            )
        else:
            words = f"{contents.unmeasured} {name}: run quarl profile BUNDLE --board {name}."
        lead = "What a decision costs where it will run."
        return Section("board", _TITLE, lead, (Note(words, True), *_ways(contents)))
    lead = (
        f"{profile.board}: {profile.cpu} at {number(profile.clock_hz / 1e6)} MHz, firmware by "
        f"{profile.compiler}, run in {profile.link}."
        f" {profile.compared - profile.differing} of {profile.compared} observations answered "
        "bit for bit as the reference does."
    )
    facts, roof = _facts(profile, contents), _roofline(profile, contents)
    parts: list[Part] = [
        Gallery((facts, roof) if isinstance(roof, Figure) else (facts,)),
        _layers(profile),
    ]
    parts.append(Note(f"Cycles are estimated, never measured: {profile.cycle_assumptions}."))
    parts += [roof] if isinstance(roof, Note) else []
    return Section("board", _TITLE, lead, (*parts, *_ways(contents)))


def _ways(contents: Contents) -> tuple[Part, ...]:
    """Return how to run the bundle on its board; nothing where it has none."""
    rows = tuple((what, Cell(code=command)) for what, command in contents.ways)
    return (Facts(f"How to run it on {contents.manifest.board}", rows),) if rows else ()


def _facts(profile: FirmwareProfile, contents: Contents) -> Facts:
    known = contents.memory
    flash = None if known is None else known.flash.bytes
    ram = None if known is None else known.ram.bytes
    has_act = profile.act_instructions is not None
    counted = profile.act_instructions if has_act else profile.instructions
    if has_act:
        whole = "from the observation to the action"
    else:
        whole = "from the graph's integers to its outputs"
    tables, tensors = size(profile.table_bytes), size(profile.arena_bytes)
    rows = (
        ("One decision", _latency(profile, contents.contract.step_hz)),
        ("Instructions", Cell(f"{counted:,}", whole, kind_tag("emulated"))),
        ("Flash", _bytes_of(profile.flash_bytes, flash, f"tables {tables}")),
        ("RAM", _bytes_of(profile.ram_bytes, ram, f"tensors {tensors}")),
        ("Stack", _stack(profile.stack_bytes)),
    )
    return Facts("One decision on the board", rows)


def _latency(profile: FirmwareProfile, step_hz: float | None) -> Cell:
    if profile.latency_us is None:
        return Cell("no estimate", note="No blocks were counted.")
    low, usual, high = profile.latency_us
    note = f"{time(low)} to {time(high)}"
    if step_hz is not None:
        period = 1e6 / step_hz
        note += f"; at most {percent(high / period)} of the control period of {time(period)}"
    return Cell(time(usual), note, kind_tag("estimated"))


def _bytes_of(count: int, whole: int | None, note: str) -> Cell:
    share = "" if whole is None else f"{percent(count / whole)} of {size(whole)}; "
    return Cell(size(count), share + note, kind_tag("exact"))


def _stack(count: int | None) -> Cell:
    if count is None:
        return Cell("not seen", "the link cannot look")
    return Cell(size(count), "the deepest seen", kind_tag("exact"))


def _layers(profile: FirmwareProfile) -> Table:
    costs = [
        layer.instructions if layer.cycles is None else layer.cycles.mid for layer in profile.layers
    ]
    whole, most = sum(costs), max(costs)
    columns = (
        Column("layer"),
        Column("instructions", "number"),
        Column("cycles", "number"),
        Column("share", "number"),
        Column("tables", "number"),
    )
    rows = []
    for layer, cost in zip(profile.layers, costs, strict=True):
        cycles = (
            Cell("none")
            if layer.cycles is None
            else Cell(f"{layer.cycles.mid:,}", f"{layer.cycles.low:,} to {layer.cycles.high:,}")
        )
        share = Cell(percent(cost / whole), strip=share_bar(cost / most))
        rows.append(
            (
                Cell(layer.layer, code=layer.kernel),
                Cell(f"{layer.instructions:,}"),
                cycles,
                share,
                Cell(size(layer.table_bytes)),
            )
        )
    return Table(
        "Cost of each layer: instructions emulated, cycles estimated, tables exact",
        columns,
        tuple(rows),
    )


def share_bar(share: float, css: str = "fill-int8") -> Markup:
    """Return a bar from nothing to everything."""
    return svg.strip(
        100,
        12,
        [
            svg.rectangle(0, 2, 100, 8, "track"),
            svg.rectangle(0, 2, max(100 * share, 0.6 if share > 0 else 0.0), 8, css),
        ],
    )


def _roofline(profile: FirmwareProfile, contents: Contents) -> Figure | Note:
    core = CORES.get(profile.cpu)
    if core is None or profile.cycles is None:
        return Note("No roofline: no blocks were counted, so MAC per cycle is not known.", True)
    work = {layer.layer: layer for layer in contents.work}
    cycles: dict[str, int] = {}
    for layer in profile.layers:
        if layer.cycles is not None:
            cycles[layer.layer] = cycles.get(layer.layer, 0) + layer.cycles.mid
    found = [
        (work[name], count)
        for name, count in cycles.items()
        if name in work and work[name].multiply_accumulates
    ]
    if not found:
        return Note("No roofline: no layer multiplies.", True)
    return _roof_figure(found, core)


def spread(points: Sequence[svg.Point], apart: float) -> list[svg.Point]:
    """Return where each point's mark is drawn: on it, or beside it where an earlier mark lies."""
    marks: list[svg.Point] = []
    for x, y in points:
        near = [
            (x + radius * math.cos(turn), y - radius * math.sin(turn))
            for radius in (apart * ring for ring in range(1, len(points) + 1))
            for turn in (math.pi * eighth / 4 for eighth in range(8))
        ]
        free = (
            place for place in ((x, y), *near) if all(math.dist(place, m) >= apart for m in marks)
        )
        marks.append(next(free))
    return marks


def _roof_figure(found: list[tuple[LayerWork, int]], core: Core) -> Figure:
    limit = core.limit
    rates = [layer.multiply_accumulates / cycles for layer, cycles in found]
    x = Scale(
        min(0.25, *(layer.intensity / 1.5 for layer, _ in found)),
        max(8.0, *(layer.intensity * 2 for layer, _ in found)),
        52,
        _WIDTH - 12,
        is_log=True,
    )
    y = Scale(min(rates) / 2.5, limit.mac_per_cycle * 1.8, _HEIGHT - 46, 24, is_log=True)
    parts = [*frame(x, y, "MAC for each byte touched", "MAC per cycle"), *_edge(x, y, limit)]
    rows = []
    points = [(x(layer.intensity), y(rate)) for (layer, _), rate in zip(found, rates, strict=True)]
    marks = spread(points, 2 * _DISC)
    for place, ((layer, cycles), rate) in enumerate(zip(found, rates, strict=True), start=1):
        at, mark = points[place - 1], marks[place - 1]
        if mark != at:
            parts += [svg.line(at, mark, "axis"), svg.disc(at, 2.5, "fill-int8")]
        parts += [
            svg.disc(mark, _DISC, "fill-int8", layer.layer),
            svg.text(mark[0], mark[1] + 4, str(place), "on-int8", "middle"),
        ]
        rows.append(_roof_row(place, layer, cycles, rate, limit))
    columns = (
        Column("layer"),
        Column("MAC", "number"),
        Column("MAC per cycle", "number"),
        Column("of the limit", "number"),
        Column("MAC per byte", "number"),
    )
    table = Table("Each layer beside the limit that binds it", columns, tuple(rows))
    best = max(range(len(found)), key=lambda i: rates[i])
    words = (
        f"The upper edge is what a {core.name} can do at best: {limit.mac_source}; and below it, "
        f"{limit.bytes_source}."
        f" The best layer, {found[best][0].layer}, reaches "
        f"{percent(rates[best] / _roof(found[best][0], limit))} of its limit."
        " Bytes are counted once each; layers without weights are left out."
    )
    label = f"Roofline of {core.name}. " + "; ".join(
        f"{layer.layer} {number(rate, 3)} MAC per cycle"
        for (layer, _), rate in zip(found, rates, strict=True)
    )
    return Figure(
        "Roofline", svg.drawing(_WIDTH, _HEIGHT, label, parts), words, table, kind_tag("estimated")
    )


def _edge(x: Scale, y: Scale, limit: CoreLimit) -> list[Markup]:
    """Draw the roof: memory's slope up to the corner, then the core's own limit."""
    corner = limit.mac_per_cycle / limit.bytes_per_cycle
    start, turn = max(x.low, y.low / limit.bytes_per_cycle), max(corner, x.low)
    top = y(limit.mac_per_cycle)
    roof = [
        (x(start), y(start * limit.bytes_per_cycle)),
        (x(turn), y(min(limit.mac_per_cycle, turn * limit.bytes_per_cycle))),
        (x.end, top),
    ]
    words = f"core: {number(limit.mac_per_cycle)} MAC per cycle"
    return [svg.path(roof, "roof"), svg.text(x.end, top - 7, words, "quiet", "end")]


def _roof(layer: LayerWork, limit: CoreLimit) -> float:
    return min(limit.mac_per_cycle, layer.intensity * limit.bytes_per_cycle)


def _roof_row(
    place: int, layer: LayerWork, cycles: int, rate: float, limit: CoreLimit
) -> tuple[Cell, ...]:
    name = Cell(f"{place}. {layer.layer}", note=f"{cycles:,} cycles")
    return (
        name,
        Cell(f"{layer.multiply_accumulates:,}"),
        Cell(fixed(rate, 3)),
        Cell(percent(rate / _roof(layer, limit))),
        Cell(fixed(layer.intensity, 2)),
    )
