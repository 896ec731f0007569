"""What one decision costs on the host: usual times and the tail, float32 beside int8."""

from __future__ import annotations

from quarl.profiles.host import Profile
from quarl.reports.contents import Contents
from quarl.reports.numbers import micro, size, time
from quarl.reports.page import Cell, Column, Gallery, Note, Section, Table
from quarl.reports.timings import Timed, tails, usual_times

_TITLE = "Latency on the host"


def latency(contents: Contents) -> Section:
    """Return the section of the host's latency."""
    profile = contents.profile
    if profile is None:
        absent = Note("Latency was not measured: run quarl profile on the bundle.", True)
        return Section("latency", _TITLE, "How long one decision takes.", (absent,))
    lead = (
        "One observation in, the policy's outputs out, one thread, each model in a process "
        f"of its own. Measured on {profile.cpu}"
        f" ({profile.system}, {profile.cpu_count} cores); {profile.multiply_accumulates:,} "
        "multiply-accumulates a decision."
    )
    timed = tuple(Timed(model.runtime, model.precision, model.latency) for model in profile.models)
    return Section(
        "latency",
        _TITLE,
        lead,
        (Gallery((usual_times(timed), tails(timed))), _table(profile), *_notes(profile, timed)),
    )


def _notes(profile: Profile, timed: tuple[Timed, ...]) -> tuple[Note, ...]:
    words = [micro(remark).rstrip(".") + "." for remark in profile.remarks()]
    blocks = [model for model in timed if model.latency.calls_per_sample > 1]
    if blocks:
        calls = ", ".join(f"{model.latency.calls_per_sample} in {model.name}" for model in blocks)
        words.append(
            "A call is too short for the clock, so a sample is the mean of several "
            f"({calls}), and a tail is that of such blocks."
        )
    return (Note(" ".join(words)),) if words else ()


def _table(profile: Profile) -> Table:
    columns = ("p50", "p90", "p99", "longest", "first call", "load", "file", "in memory")
    rows = []
    for model in profile.models:
        taken, memory = model.latency, model.memory
        times = (
            taken.p50_us,
            taken.p90_us,
            taken.p99_us,
            taken.max_us,
            taken.first_call_us,
            model.load_us,
        )
        cells = [
            *(time(value) for value in times),
            size(model.file_bytes),
            size(memory.model_bytes),
        ]
        name = Cell(
            f"{model.runtime} {model.precision}",
            note=f"version {model.runtime_version}; {len(taken.samples_us):,} samples",
        )
        rows.append((name, *(Cell(text) for text in cells)))
    caption = (
        "Percentiles of the samples; loading and the first call happen once. Times and "
        "memory measured, files exact"
    )
    return Table(
        caption, (Column("runtime"), *(Column(title, "number") for title in columns)), tuple(rows)
    )
