"""What one decision costs on a Raspberry Pi: measured there, or counted in an emulator."""

from __future__ import annotations

from quarl.profiles.pi.report import PiModel, PiProfile
from quarl.reports.numbers import micro, number, size, time
from quarl.reports.page import Cell, Column, Gallery, Note, Part, Section, Table
from quarl.reports.sections.wording import kind_tag
from quarl.reports.timings import Timed, tails, usual_times

_TITLE = "On the Raspberry Pi"


def on_pi(profile: PiProfile) -> Section:
    """Return the section of a Raspberry Pi."""
    machine = profile.machine
    model = profile.board if machine.model is None else machine.model
    way = {
        "local": "on this machine",
        "ssh": "over ssh",
        "emulated": "in an emulator, which has no times",
    }[profile.link]
    lead = (
        f"{model}, {machine.machine} with {machine.cores} cores, {machine.system}; {way}."
        f" {profile.multiply_accumulates:,} multiply-accumulates a decision. Figures are "
        f"{profile.kind}; the outputs' equality is exact."
    )
    timed = tuple(
        Timed(each.runtime, each.precision, each.latency)
        for each in profile.models
        if each.latency is not None
    )
    parts: list[Part] = [Gallery((usual_times(timed), tails(timed)))] if timed else []
    parts += [
        _table(profile),
        Note(" ".join(micro(words).rstrip(".") + "." for words in profile.sentences())),
    ]
    return Section("board", _TITLE, lead, tuple(parts))


def _table(profile: PiProfile) -> Table:
    is_counted = profile.kind == "emulated"
    titles = (
        ("instructions", "of the call alone")
        if is_counted
        else ("p50", "p99", "longest", "whole decision, longest")
    )
    figures = _instructions if is_counted else _times
    rows = tuple((_name(model), *figures(model), *_common(model)) for model in profile.models)
    columns = (
        Column("runtime"),
        *(Column(title, "number") for title in (*titles, "file", "outputs that differ")),
    )
    return Table("Each model in each runtime", columns, rows)


def _name(model: PiModel) -> Cell:
    return Cell(f"{model.runtime} {model.precision}", note=f"version {model.runtime_version}")


def _common(model: PiModel) -> tuple[Cell, Cell]:
    differing = (
        Cell("not compared")
        if model.observations == 0
        else Cell(f"{model.differing:,}", note=f"{model.observations:,} observations")
    )
    return Cell(size(model.file_bytes)), differing


def _instructions(model: PiModel) -> tuple[Cell, ...]:
    counted = model.instructions
    if counted is None:
        return Cell("not counted"), Cell("not counted")
    return Cell(f"{counted.typical:,}", tag=kind_tag("emulated")), Cell(
        number(counted.typical_invoke)
    )


def _times(model: PiModel) -> tuple[Cell, ...]:
    taken, whole = model.latency, model.decision
    times = (None, None, None) if taken is None else (taken.p50_us, taken.p99_us, taken.max_us)
    return tuple(
        Cell("not measured" if value is None else time(value))
        for value in (*times, None if whole is None else whole.max_us)
    )
