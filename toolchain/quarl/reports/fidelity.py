"""Fidelity against cost: every candidate as a point, and the front that none passes."""

from __future__ import annotations

from typing import Literal

from quarl.bundle.rung_result import Ceiling, RungResult, pareto_front
from quarl.reports import svg
from quarl.reports.axes import Scale, frame, spread
from quarl.reports.numbers import number
from quarl.reports.page import Figure

_WIDTH, _HEIGHT = 560.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 16.0, 34.0, 46.0


def fidelity_figure(
    ladder: tuple[RungResult, ...], ceilings: tuple[Ceiling, ...] = ()
) -> Figure | None:
    """Draw decisions unlike the source's over cost; None where fewer than two are known."""
    points = [
        (one, one.cost, 100 * one.differing)
        for one in ladder
        if one.cost is not None and one.differing is not None
    ]
    if len(points) < 2:
        return None
    x = Scale(*spread([cost for _, cost, _ in points]), _LEFT, _WIDTH - _RIGHT)
    high = spread([share for _, _, share in points])[1]
    y = Scale(0.0, high, _HEIGHT - _BOTTOM, _TOP)
    parts = frame(x, y, "cost, times the cheapest", "unlike the source, %")
    for ceiling in ceilings:
        share = 100 * ceiling.differing
        if share < high:
            parts.append(svg.line((x.start, y(share)), (x.end, y(share)), "limit"))
    front = pareto_front(ladder)
    steps = [(x(one.cost or 0.0), y(100 * (one.differing or 0.0))) for one in front]
    if len(steps) > 1:
        parts.append(svg.path(steps, "axis"))
    for one, cost, share in points:
        title = f"rung {one.rung} {one.name}: {number(share)} % at {number(cost)} times"
        at = (x(cost), y(share))
        parts.append(svg.disc(at, 6.0 if one.taken else 4.0, _css(one, front), title))
        if one.taken:
            parts.append(svg.text(at[0], at[1] - 12, "taken", "label", _anchor(cost, x)))
    label = "Candidates by cost and fidelity. " + "; ".join(
        f"rung {one.rung} {one.name}: {number(share)} % unlike the source at {number(cost)} times"
        for one, cost, share in points
    )
    kinds = " and ".join(sorted({one.counted for one, _, _ in points}))
    caption = (
        "Lower is more faithful, further left is cheaper; the line joins the candidates than which "
        f"none is both. Decisions on held-out observations; cost {kinds}."
    )
    if ceilings:
        alone = ", ".join(f"of {one.bits} bits {number(100 * one.differing)} %" for one in ceilings)
        caption += f" Dark lines: what the rounding of observations alone makes, {alone}."
    return Figure("Fidelity against cost", svg.drawing(_WIDTH, _HEIGHT, label, parts), caption)


def _css(one: RungResult, front: tuple[RungResult, ...]) -> str:
    return "fill-int8" if one.taken or one in front else "fill-source"


def _anchor(cost: float, x: Scale) -> Literal["start", "end"]:
    """Return on which side of its point a word has room."""
    return "end" if x(cost) > (x.start + x.end) / 2 else "start"
