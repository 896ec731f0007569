"""Drawings of latency: the usual times and the tail of several models, float32 beside int8.

In: `Timed` models with their raw samples. Out: two figures and the rows of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from quarl.profiles.host import Latency, Precision
from quarl.reports import svg
from quarl.reports.axes import Scale
from quarl.reports.numbers import number, time
from quarl.reports.page import Figure
from quarl.reports.sections.wording import kind_tag

_WIDTH, _ROW, _HILL, _BINS = 420.0, 56.0, 28.0, 80
_TAIL_SHARES = (0.5, 0.1, 0.01, 0.001)  # of the samples that take longer
_TAIL_POINTS = 43
_MARKED = (0, 11, 26, 42)  # the points that lie nearest to those shares
_KEY_ROW, _PLOT = 19.0, 164.0


@dataclass(frozen=True, slots=True)
class Timed:
    """One model that a clock has timed."""

    runtime: str
    precision: Precision
    latency: Latency

    @property
    def name(self) -> str:
        """Runtime and precision."""
        return f"{self.runtime} {self.precision}"

    @property
    def who(self) -> str:
        """The class of its colour."""
        return "int8" if self.precision == "int8" else "source"

    def samples(self) -> NDArray[np.float64]:
        """Return the samples in microseconds."""
        return np.array(self.latency.samples_us, np.float64)


def usual_times(models: Sequence[Timed]) -> Figure:
    """Draw a histogram of each model on an axis of its own, from the shortest sample to the 90th
    percentile.
    """
    parts: list[Markup] = []
    for row, model in enumerate(models):
        parts += _hill(_ROW * (row + 1) - 16, model)
    words = (
        "How often each time occurs: every row from its own shortest sample to its 90th "
        "percentile; the stroke is the median."
    )
    label = "Histograms of latency. " + "; ".join(
        f"{model.name}: median {time(model.latency.p50_us)}" for model in models
    )
    return Figure(
        "Usual times",
        svg.drawing(_WIDTH, _ROW * len(models), label, parts),
        words,
        None,
        kind_tag("measured"),
    )


def _hill(base: float, model: Timed) -> list[Markup]:
    samples = model.samples()
    low, high = float(samples.min()), model.latency.p90_us
    if high <= low:
        high = low * 1.01
    x = Scale(low, high, 128.0, _WIDTH - 4.0)
    counts, edges = np.histogram(samples[samples <= high], _BINS, (low, high))
    points = [(x.start, base)]
    for i in np.flatnonzero(counts):
        rise = max(_HILL * float(counts[i]) / float(counts.max()), 1.0)
        left, right = x(float(edges[i])), x(float(edges[i + 1]))
        points += [(left, base), (left, base - rise), (right, base - rise), (right, base)]
    median = x(model.latency.p50_us)
    return [
        svg.path([*points, (x.end, base)], f"fill-{model.who}", closed=True),
        svg.line((x.start, base), (x.end, base), "axis"),
        svg.line((median, base - _HILL - 4), (median, base + 3), "limit"),
        svg.text(0, base - 16, model.name, "name"),
        svg.text(0, base, f"median {time(model.latency.p50_us)}", "tick"),
        svg.text(x.start, base + 13, time(low), "tick"),
        svg.text(x.end, base + 13, time(high), "tick", "end"),
    ]


def tails(models: Sequence[Timed]) -> Figure:
    """Draw time over the share of samples that take longer, both logarithmic: the further right,
    the rarer.
    """
    key_rows = -(-len(models) // 2)
    top = _KEY_ROW * key_rows + 30
    x = Scale(_TAIL_SHARES[0], _TAIL_SHARES[-1], 48.0, _WIDTH - 22.0, is_log=True)
    shares = np.geomspace(_TAIL_SHARES[0], _TAIL_SHARES[-1], _TAIL_POINTS)
    quantiles = [np.quantile(model.samples(), 1 - shares) for model in models]
    low, high = (
        min(float(values[0]) for values in quantiles),
        max(float(values[-1]) for values in quantiles),
    )
    y = Scale(low * 0.8, high * 1.25, top + _PLOT, top, is_log=True)
    parts = _tail_axes(x, y)
    for place, (model, values) in enumerate(zip(models, quantiles, strict=True)):
        is_first = model.runtime == models[0].runtime
        points = [
            (x(float(share)), y(float(value))) for share, value in zip(shares, values, strict=True)
        ]
        key = (_WIDTH / 2 * (place % 2), _KEY_ROW * (place // 2) + 10.0)
        parts.append(svg.path(points, f"tail-{model.who}"))
        parts += [
            _mark(model, (x(share), points[at][1]), is_first)
            for share, at in zip(_TAIL_SHARES, _MARKED, strict=True)
        ]
        parts += [
            svg.line(key, (key[0] + 28, key[1]), f"tail-{model.who}"),
            _mark(model, (key[0] + 14, key[1]), is_first),
        ]
        parts.append(svg.text(key[0] + 36, key[1] + 4, model.name, "name"))
    words = "The further to the right, the rarer; a flat line is a steady runtime."
    label = "Tails of latency. " + "; ".join(
        f"{model.name}: p99 {time(model.latency.p99_us)}" for model in models
    )
    return Figure(
        "The tail",
        svg.drawing(_WIDTH, y.start + 42, label, parts),
        words,
        None,
        kind_tag("measured"),
    )


def _tail_axes(x: Scale, y: Scale) -> list[Markup]:
    """Draw the grid: shares from left to right, times from the bottom up."""
    parts: list[Markup] = [svg.text(0, y.end - 12, "microseconds, logarithmic", "label")]
    for share, words in zip(_TAIL_SHARES, ("50 %", "90 %", "99 %", "99.9 %"), strict=True):
        parts += [
            svg.line((x(share), y.start), (x(share), y.end), "grid"),
            svg.text(x(share), y.start + 17, words, "tick", "middle"),
        ]
    for value in y.ticks():
        parts += [
            svg.line((x.start, y(value)), (x.end, y(value)), "grid"),
            svg.text(x.start - 6, y(value) + 4, number(value), "tick", "end"),
        ]
    title = "share of the samples that are no longer"
    parts.append(svg.text((x.start + x.end) / 2, y.start + 36, title, "label", "middle"))
    return parts


def _mark(model: Timed, at: svg.Point, is_filled: bool) -> Markup:
    """Draw a disc for int8 and a square for float32; those of the first runtime are filled."""
    css = f"{'fill' if is_filled else 'hollow'}-{model.who}"
    return (
        svg.disc(at, 4, css)
        if model.who == "int8"
        else svg.rectangle(at[0] - 3.5, at[1] - 3.5, 7, 7, css)
    )
