"""Axes: where a value lies on a drawing, and the round numbers that are written beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from quarl.reports import svg
from quarl.reports.numbers import number


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps low..high to start..end, evenly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value; beyond the ends it goes on."""
        width = self.end - self.start
        if self.is_log:
            return self.start + width * math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + width * (value - self.low) / (self.high - self.low)

    def ticks(self, about: int = 5) -> list[float]:
        """Return round values within the scale."""
        return (
            log_ticks(self.low, self.high, about)
            if self.is_log
            else even_ticks(self.low, self.high, about)
        )


def spread(values: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
    """Return ends that hold all values with a margin on both sides, a share of their spread; never
    equal.
    """
    low, high = min(values), max(values)
    room = (high - low) * margin or max(abs(high) * margin, 0.5)
    return low - room, high + room


def even_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten from low to high."""
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [0.0 if i == 0 else float(f"{i * step:.12g}") for i in range(first, last + 1)]


def log_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round values between low and high, a few per power of ten, or powers of ten where
    those are many.
    """
    decades = math.log10(high / low)
    factors = (1, 2, 5) if decades <= about / 2.5 else (1, 3) if decades <= about / 1.8 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [
        float(f"{f * 10.0**p:.6g}")
        for p in powers
        for f in factors
        if low * 0.999 <= f * 10.0**p <= high * 1.001
    ]


def frame(x: Scale, y: Scale, x_label: str, y_label: str) -> list[Markup]:
    """Return grid lines, tick labels and axis titles of a plot; y runs upwards."""
    parts = []
    for value in x.ticks():
        at = x(value)
        parts += [
            svg.line((at, y.start), (at, y.end), "grid"),
            svg.text(at, y.start + 16, number(value), "tick", "middle"),
        ]
    for value in y.ticks():
        at = y(value)
        parts += [
            svg.line((x.start, at), (x.end, at), "grid"),
            svg.text(x.start - 6, at + 4, number(value), "tick", "end"),
        ]
    parts.append(svg.path([(x.start, y.end), (x.start, y.start), (x.end, y.start)], "axis"))
    parts.append(svg.text((x.start + x.end) / 2, y.start + 34, x_label, "label", "middle"))
    parts.append(svg.text(x.start - 44, y.end - 12, y_label, "label"))
    return parts
