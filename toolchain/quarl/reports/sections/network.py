"""The network: its layers with shapes and bytes, and where its tensors lie while it runs."""

from __future__ import annotations

from markupsafe import Markup

from quarl.profiles.emulated import FirmwareProfile
from quarl.profiles.platform import Memory
from quarl.reports import svg
from quarl.reports.axes import Scale
from quarl.reports.contents import Contents
from quarl.reports.network import OBSERVATION, Lane, Layer, Network
from quarl.reports.numbers import percent, size
from quarl.reports.page import Cell, Column, Figure, Gallery, Note, Part, Section, Table
from quarl.reports.sections.wording import kind_tag

_TITLE = "The network and its memory"
_WIDTH, _ROW, _BOX = 420.0, 40.0, 26.0
_NAME_CHARACTERS, _SHAPE_CHARACTERS = 26, 16
_MAP_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 300.0, 64.0, 8.0, 24.0, 44.0


def network(contents: Contents) -> Section:
    """Return the section of the network."""
    found = contents.network
    stored = sum(layer.bytes for layer in found.layers)
    lead = (
        f"{len(found.layers)} layers with {size(stored)} of weights and tables in flash, as the "
        f"{found.kernels} kernels store them. Exact: the same on every run."
    )
    drawings: list[Figure] = [_drawing(found)]
    if found.lanes and found.arena_bytes:
        drawings.append(_arena(found, found.arena_bytes))
    parts: list[Part] = [Gallery(tuple(drawings))]
    if found.reason:
        parts.append(
            Note(f"No firmware holds this policy, so no memory is drawn: {found.reason}", True)
        )
    if contents.firmware is not None and contents.memory is not None:
        parts.append(_memory(contents.firmware, contents.memory))
    return Section("network", _TITLE, lead, tuple(parts))


def _drawing(found: Network) -> Figure:
    most = max((layer.bytes for layer in found.layers), default=0) or 1
    parts: list[Markup] = []
    rows = [(OBSERVATION, "", found.input_shape, 0), *map(_row, found.layers)]
    for place, (name, what, shape, stored) in enumerate(rows):
        top = 4 + place * _ROW
        if place:
            parts.append(svg.line((14, top - _ROW + _BOX), (14, top), "axis"))
        share = stored / most
        parts += [
            svg.rectangle(4, top, _WIDTH - 8, _BOX, "arena", name),
            svg.rectangle(4, top + _BOX - 3, (_WIDTH - 8) * share, 3, "fill-int8"),
            svg.text(12, top + 17, _cut(name, _NAME_CHARACTERS), "name"),
            svg.text(_WIDTH * 0.52, top + 17, what, "tick"),
            svg.text(_WIDTH * 0.8, top + 17, _shape(shape), "tick", "end"),
            svg.text(_WIDTH - 12, top + 17, size(stored) if stored else "", "tick", "end"),
        ]
    height = 4 + len(rows) * _ROW
    label = "; ".join(f"{name} {what} {_shape(shape)}" for name, what, shape, _ in rows)
    columns = (
        Column("layer"),
        Column("reads"),
        Column("output", "number"),
        Column("weight bits", "number"),
        Column("MAC", "number"),
        Column("flash", "number"),
    )
    table = Table(
        "Layers in order",
        columns,
        tuple(
            (
                Cell(layer.name, code=layer.operation),
                Cell(", ".join(layer.inputs)),
                Cell(_shape(layer.shape)),
                Cell("" if layer.bits is None else str(layer.bits)),
                Cell(f"{layer.multiply_accumulates:,}"),
                Cell(size(layer.bytes)),
            )
            for layer in found.layers
        ),
    )
    words = "From the observation down: operation, shape of the output, bytes in flash (the bar)."
    picture = svg.drawing(_WIDTH, height, f"The network. {label}", parts)
    return Figure("Layers", picture, words, table, kind_tag("exact"))


def _row(layer: Layer) -> tuple[str, str, tuple[int, ...], int]:
    bits = "" if layer.bits in (None, 8) else f", int{layer.bits}"
    return layer.name, f"{layer.operation}{bits}", layer.shape, layer.bytes


def _arena(found: Network, arena_bytes: int) -> Figure:
    steps = len(found.layers)
    x = Scale(0, steps, _LEFT, _WIDTH - _RIGHT)
    y = Scale(0, arena_bytes, _MAP_HEIGHT - _BOTTOM, _TOP)
    parts: list[Markup] = []
    for share in (0.0, 0.5, 1.0):
        at = y(arena_bytes * share)
        parts += [
            svg.line((x.start, at), (x.end, at), "grid"),
            svg.text(x.start - 6, at + 4, size(round(arena_bytes * share)), "tick", "end"),
        ]
    for lane in sorted(found.lanes, key=lambda lane: lane.first):
        parts += _lane(lane, x, y)
    parts.append(svg.path([(x.start, y.end), (x.start, y.start), (x.end, y.start)], "axis"))
    middle = (x.start + x.end) / 2
    parts.append(
        svg.text(middle, y.start + 30, f"layer 1 to {steps}, in order of time", "label", "middle")
    )
    rows = tuple(
        (
            Cell(lane.name),
            Cell(f"{lane.offset:,}"),
            Cell(f"{lane.bytes:,}"),
            Cell(f"{lane.first + 1} to {lane.last + 1}"),
        )
        for lane in found.lanes
    )
    columns = (
        Column("tensor"),
        Column("begins at byte", "number"),
        Column("bytes", "number"),
        Column("layers", "number"),
    )
    words = (
        f"One arena of {size(arena_bytes)}: each block is a tensor, as high as its bytes, from the "
        "layer that writes it to the last that reads it. An output may take the place of input "
        "that was read before."
    )
    label = f"Memory of one inference, {arena_bytes} bytes. " + "; ".join(
        f"{lane.name} {lane.bytes} bytes" for lane in found.lanes
    )
    table = Table("Tensors in the arena", columns, rows)
    picture = svg.drawing(_WIDTH, _MAP_HEIGHT, label, parts)
    return Figure("RAM while it runs", picture, words, table, kind_tag("exact"))


def _lane(lane: Lane, x: Scale, y: Scale) -> list[Markup]:
    left, right = x(lane.first), x(lane.last + 1)
    top, bottom = y(lane.offset + lane.bytes), y(lane.offset)
    title = f"{lane.name}: {lane.bytes:,} B"
    parts = [
        svg.rectangle(left + 1, top, right - left - 2, max(bottom - top, 1.5), "obstacle", title)
    ]
    room = int((right - left - 8) / 6.5)
    if bottom - top >= 14 and room >= 4:
        words = (
            lane.name
            if len(lane.name) <= room
            else f"{lane.name[: room - 1]}\N{HORIZONTAL ELLIPSIS}"
        )
        parts.append(svg.text(left + 5, (top + bottom) / 2 + 4, words, "tick"))
    return parts


def _memory(profile: FirmwareProfile, memory: Memory) -> Table:
    stack = profile.stack_bytes or 0
    columns = (
        Column("memory"),
        Column("part"),
        Column("bytes", "number"),
        Column("share", "number"),
    )
    flash, ram = memory.flash.bytes, memory.ram.bytes
    used_ram = profile.ram_bytes + stack
    parts = (
        ("flash", "weights and tables", profile.table_bytes, flash),
        ("flash", "code, constants, harness", profile.flash_bytes - profile.table_bytes, flash),
        ("flash", "free", flash - profile.flash_bytes, flash),
        ("RAM", "tensors", profile.arena_bytes, ram),
        ("RAM", "other variables", profile.ram_bytes - profile.arena_bytes, ram),
        ("RAM", "stack, the deepest seen", stack, ram),
        ("RAM", "free", ram - used_ram, ram),
    )
    rows = tuple(
        (Cell(where), Cell(what), Cell(f"{count:,}"), Cell(percent(count / whole)))
        for where, what, count, whole in parts
    )
    return Table(f"Flash and RAM of {profile.board}", columns, rows, css="narrow")


def _shape(shape: tuple[int, ...]) -> str:
    return _cut("x".join(map(str, shape)), _SHAPE_CHARACTERS)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"
