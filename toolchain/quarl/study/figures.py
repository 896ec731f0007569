"""The figures of a study's page, drawn by matplotlib as SVG text.

In: results. Out: SVG elements that load nothing and carry no clock: the same results give the same
text with the same matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.files.svg_figure import COLOURS, plain_label, svg_figure
from quarl.stats.resampling import middle_change
from quarl.study.result import Result

LIMIT = 150.0  # % of relative error that a sweep shows


def sweep(results: Sequence[Result]) -> str:
    """Return relative error over bits of the weights, a line with its band for each method."""

    def draw(axes: Any) -> None:
        for colour, name in zip(COLOURS, lines_of(results), strict=False):
            chosen = [r for r in results if line_name(r) == name]
            bits = sorted({r.weights for r in chosen})
            changes = [middle_change(pairs([r for r in chosen if r.weights == b])) for b in bits]
            middle = np.array([change.percent for change in changes])
            axes.plot(bits, middle, "o-", color=colour, label=name, markersize=4)
            axes.fill_between(
                bits, [c.low for c in changes], [c.high for c in changes], color=colour, alpha=0.2
            )
        axes.axhline(0, color="#888", linewidth=0.8)
        axes.set_ylim(-LIMIT / 6, LIMIT)
        axes.invert_xaxis()
        axes.set_xlabel("bits of the weights")
        axes.set_ylabel("relative error, %")
        _name_lines(axes)

    return svg_figure(draw)


def pareto(results: Sequence[Result], what: str) -> str:
    """Return what is kept of the return against flash ("parameter_bytes") or "instructions", as
    shares of the same policy's 8-bit ladder.
    """

    def draw(axes: Any) -> None:
        for colour, name in zip(COLOURS, lines_of(results), strict=False):
            points = [
                (cost, r.relative_error)
                for r in results
                if line_name(r) == name and (cost := _cost(r, results, what)) is not None
            ]
            if points:
                x, y = np.array(points).T
                kept = np.clip(100 - y, -50, 120)
                axes.scatter(x, kept, s=14, color=colour, label=name, alpha=0.7)
        axes.axhline(100, color="#888", linewidth=0.8)
        label = "bytes of parameters" if what == "parameter_bytes" else "instructions"
        axes.set_xlabel(f"{label}, share of 8 bits")
        axes.set_ylabel("return kept, %")
        _name_lines(axes)

    return svg_figure(draw)


def histogram(weights: NDArray[np.float32], title: str) -> str:
    """Return how a policy's weights are spread."""

    def draw(axes: Any) -> None:
        axes.hist(weights, bins=80, color=COLOURS[0])
        axes.set_yscale("log")
        axes.set_title(plain_label(title), fontsize=9)
        axes.tick_params(labelsize=7)

    return svg_figure(draw, size=(2.6, 1.9))


def scatter(
    x: Sequence[float], y: Sequence[float], names: Sequence[str], labels: tuple[str, str]
) -> str:
    """Return points with their names."""

    def draw(axes: Any) -> None:
        axes.scatter(x, y, s=16, color=COLOURS[0])
        for left, bottom, name in zip(x, y, names, strict=True):
            axes.annotate(
                plain_label(name),
                (left, bottom),
                fontsize=6,
                xytext=(3, 3),
                textcoords="offset points",
            )
        axes.set_xscale("log")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])

    return svg_figure(draw)


def _name_lines(axes: Any) -> None:
    """Add the legend, where there is something to name: matplotlib warns of an empty one."""
    handles, names = axes.get_legend_handles_labels()
    if names:
        axes.legend(handles, names, fontsize=8)


def line_name(result: Result) -> str:
    """Return the line of a sweep that a result belongs to."""
    if result.method in ("paper", "fp16"):
        return result.method
    inputs = "" if result.inputs == 8 else f", input {result.inputs}"
    edges = ", 8-bit edges" if result.edges == 8 and result.weights < 8 else ""
    rung = "" if result.rung is None else f" rung {result.rung}"
    return f"{result.method}{rung}, activations {result.activations}{inputs}{edges}"


def lines_of(results: Sequence[Result]) -> list[str]:
    """Return the lines that have more than one width, in the order of the results."""
    names = list(dict.fromkeys(line_name(r) for r in results))
    return [n for n in names if len({r.weights for r in results if line_name(r) == n}) > 1]


def pairs(results: Sequence[Result]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return the returns of source and candidate of each result."""
    return [(np.array(r.source_returns), np.array(r.returns)) for r in results]


def _cost(result: Result, results: Sequence[Result], what: str) -> float | None:
    base = [
        getattr(r, what)
        for r in results
        if r.policy == result.policy and r.weights == r.edges == 8 and r.method == "ladder"
    ]
    own = getattr(result, what)
    return None if own is None or not base or not base[0] else float(own / base[0])
