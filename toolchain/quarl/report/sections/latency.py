"""What one decision costs on the host: usual times and the tail, float32 beside int8."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from quarl.profile import ModelProfile, Profile
from quarl.report import svg
from quarl.report.axes import Scale
from quarl.report.contents import Contents
from quarl.report.numbers import number, prose, size, time
from quarl.report.page import Cell, Column, Figure, Gallery, Note, Section, Table
from quarl.report.sections.wording import kind_tag

_TITLE = "Latency on the host"
_WIDTH, _ROW, _HILL, _BINS = 420.0, 54.0, 30.0, 96
_TAIL_SHARES = (0.5, 0.1, 0.01, 0.001)  # of the samples that take longer
_HEIGHT = 4 * _ROW + 44


def latency(contents: Contents) -> Section:
    """Return the section of the host's latency."""
    profile = contents.profile
    if profile is None:
        absent = Note("Latency was not measured: run quarl profile on the bundle.", True)
        return Section("latency", _TITLE, "How long one decision takes.", (absent,))
    lead = (
        f"One observation in, the policy's outputs out, one thread, each model in a process of its own. Measured on {profile.cpu}"
        f" ({profile.system}, {profile.cpu_count} cores); {profile.multiply_accumulates:,} multiply-accumulates a decision."
    )
    notes = [prose(words).rstrip(".") + "." for words in profile.remarks()]
    blocks = [model for model in profile.models if model.latency.calls_per_sample > 1]
    if blocks:
        calls = ", ".join(f"{model.latency.calls_per_sample} in {_name(model)}" for model in blocks)
        notes.append(f"A call is too short for the clock, so a sample is the mean of several ({calls}), and a tail is that of such blocks.")
    return Section("latency", _TITLE, lead, (Gallery((_hills(profile), _tails(profile))), _table(profile), Note(" ".join(notes))))


def _name(model: ModelProfile) -> str:
    return f"{model.runtime} {model.precision}"


def _who(model: ModelProfile) -> str:
    return "int8" if model.precision == "int8" else "source"


def _samples(model: ModelProfile) -> NDArray[np.float64]:
    return np.array(model.latency.samples_us, np.float64)


def _hills(profile: Profile) -> Figure:
    """Draw a histogram of each model, one above the other, up to the largest 99th percentile."""
    low = min(float(_samples(model).min()) for model in profile.models) * 0.9
    x = Scale(low, max(model.latency.p99_us for model in profile.models) * 1.05, 4.0, _WIDTH - 4.0, is_log=True)
    base = _ROW * len(profile.models)
    parts: list[Markup] = []
    for value in x.ticks(8):
        parts += [svg.line((x(value), 10), (x(value), base), "grid"), svg.text(x(value), base + 17, number(value), "tick", "middle")]
    parts.append(svg.text(_WIDTH / 2, base + 36, "microseconds a decision, logarithmic", "label", "middle"))
    for row, model in enumerate(profile.models):
        parts += _hill(x, _ROW * (row + 1), model)
    words = "Samples per interval; the stroke is the median. Drawn up to the largest 99th percentile."
    label = "Histograms of latency. " + "; ".join(f"{_name(model)}: median {time(model.latency.p50_us)}" for model in profile.models)
    return Figure("Usual times", svg.drawing(_WIDTH, base + 44, label, parts), words, None, kind_tag("measured"))


def _hill(x: Scale, base: float, model: ModelProfile) -> list[Markup]:
    edges = np.geomspace(x.low, x.high, _BINS + 1)
    counts = np.histogram(_samples(model), edges)[0]
    points = [(x.start, base)]
    for i in np.flatnonzero(counts):
        rise = max(_HILL * float(counts[i]) / float(counts.max()), 1.0)
        left, right = x(float(edges[i])), x(float(edges[i + 1]))
        points += [(left, base), (left, base - rise), (right, base - rise), (right, base)]
    median = x(model.latency.p50_us)
    is_right = median < _WIDTH * 0.6  # the name goes where there is room
    return [
        svg.path([*points, (x.end, base)], f"fill-{_who(model)}", closed=True),
        svg.line((x.start, base), (x.end, base), "axis"),
        svg.line((median, base - _HILL - 5), (median, base + 3), "limit"),
        svg.text(x.end if is_right else x.start, base - _HILL + 8, _name(model), "name", "end" if is_right else "start"),
    ]


def _tails(profile: Profile) -> Figure:
    """Draw time over the share of samples that take longer, both logarithmic: the further right, the rarer."""
    x = Scale(_TAIL_SHARES[0], _TAIL_SHARES[-1], 48.0, _WIDTH - 12.0, is_log=True)
    quantiles = {model: np.quantile(_samples(model), 1 - np.geomspace(_TAIL_SHARES[0], _TAIL_SHARES[-1], 40)) for model in profile.models}
    low, high = (pick(float(values[end]) for values in quantiles.values()) for pick, end in ((min, 0), (max, -1)))
    y = Scale(low * 0.8, high * 1.25, _HEIGHT - 44, 26.0, is_log=True)
    parts: list[Markup] = [svg.text(0, 12, "microseconds, logarithmic", "label")]
    for share, words in zip(_TAIL_SHARES, ("50 %", "90 %", "99 %", "99.9 %"), strict=True):
        parts += [svg.line((x(share), y.start), (x(share), y.end), "grid"), svg.text(x(share), y.start + 17, words, "tick", "middle")]
    for value in y.ticks():
        parts += [
            svg.line((x.start, y(value)), (x.end, y(value)), "grid"),
            svg.text(x.start - 6, y(value) + 4, number(value), "tick", "end"),
        ]
    for model, values in quantiles.items():
        places = np.geomspace(_TAIL_SHARES[0], _TAIL_SHARES[-1], len(values))
        points = [(x(float(share)), y(float(value))) for share, value in zip(places, values, strict=True)]
        parts.append(svg.path(points, f"tail-{_who(model)}"))
        mark = points[2 if model.runtime == profile.models[0].runtime else 8]
        parts.append(
            svg.disc(mark, 4, "fill-int8") if _who(model) == "int8" else svg.rectangle(mark[0] - 4, mark[1] - 4, 8, 8, "fill-source")
        )
    parts += _tail_names(profile, {model: y(float(values[0])) for model, values in quantiles.items()}, x.start + 30)
    parts.append(svg.text((x.start + x.end) / 2, y.start + 36, "share of the samples that are no longer", "label", "middle"))
    words = "The further to the right, the rarer. Disc and full line: int8; square and dashed line: float32."
    label = "Tails of latency. " + "; ".join(f"{_name(model)}: p99 {time(model.latency.p99_us)}" for model in profile.models)
    return Figure("The tail", svg.drawing(_WIDTH, _HEIGHT, label, parts), words, None, kind_tag("measured"))


def _tail_names(profile: Profile, heights: dict[ModelProfile, float], x: float) -> list[Markup]:
    """Write each line's name above its beginning, moved up where it would lie on another."""
    parts, above = [], float("inf")
    for model in sorted(profile.models, key=lambda each: -heights[each]):
        place = min(heights[model] - 7, above - 14)
        parts.append(svg.text(x, place, _name(model), "name"))
        above = place
    return parts


def _table(profile: Profile) -> Table:
    columns = ("p50", "p90", "p99", "longest", "first call", "load", "file", "in memory")
    rows = []
    for model in profile.models:
        taken, memory = model.latency, model.memory
        times = (taken.p50_us, taken.p90_us, taken.p99_us, taken.max_us, taken.first_call_us, model.load_us)
        cells = [*(time(value) for value in times), size(model.file_bytes), size(memory.model_bytes)]
        name = Cell(_name(model), note=f"version {model.runtime_version}; {len(taken.samples_us):,} samples")
        rows.append((name, *(Cell(text) for text in cells)))
    caption = "Percentiles of the samples; loading and the first call happen once. Times and memory measured, files exact"
    return Table(caption, (Column("runtime"), *(Column(title, "number") for title in columns)), tuple(rows))
