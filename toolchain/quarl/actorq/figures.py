"""The figures of ActorQ's page: where the time goes, how the return grows, what a width costs.

In: records and costs. Out: SVG elements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from quarl.actorq.comparison import cost_rows
from quarl.actorq.evaluating import Point
from quarl.actorq.measure import StepCost
from quarl.actorq.record import Record
from quarl.actorq.saturation import Costs, Limits, steps_per_s
from quarl.files.svg_figure import COLOURS, svg_figure

KINDS = {"int8": COLOURS[0], "fp16": COLOURS[1], "fp32": COLOURS[2], "fp32 (torch)": COLOURS[4]}
POINTS = 60  # on which curves of several runs are averaged


def cost_bars(records: Sequence[Record]) -> str:
    """Return the actors' CPU time for 1,000 steps by phase, a bar for each kind and pull period."""
    bars = {(f"{r.kind}\npull {r.case.pull_every}"): cost_rows(r) for r in records}

    def draw(axes: Any) -> None:
        bottom = np.zeros(len(bars))
        for colour, phase in zip(COLOURS, next(iter(bars.values())), strict=False):
            values = np.array([costs[phase] for costs in bars.values()])
            axes.bar(list(bars), values, bottom=bottom, color=colour, label=phase, width=0.6)
            bottom += values
        axes.set_ylabel("CPU ms of an actor for 1,000 steps")
        axes.tick_params(labelsize=8)
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))  # beside the bars

    return svg_figure(draw, (max(4.5, 1.0 * len(bars)), 3.6))


def curves(kinds: Mapping[str, Sequence[Record]], over: str, threshold: float | None) -> str:
    """Return the return of the actors' policy over "wall_s", "cpu_s" or "learner_step": the mean of
    the seeds and the band from the least to the largest; of int8 runs the learner's floats too.
    """

    def draw(axes: Any) -> None:
        for kind, runs in kinds.items():
            colour = KINDS.get(kind, COLOURS[5])
            _band(axes, runs, over, lambda run, p: run.returns(p), (colour, "-", kind))
            if kind == "int8":
                label = "its learner in fp32"
                _band(axes, runs, over, lambda run, p: p.float_mean, (colour, ":", label))
        if threshold is not None:
            axes.axhline(threshold, color="#888", linewidth=0.8, linestyle="--")
        labels = {
            "wall_s": "seconds of the learner (wall time, other work on the machine included)",
            "cpu_s": "CPU seconds of learner and actors",
            "learner_step": "learner steps",
        }
        axes.set_xlabel(labels[over])
        axes.set_ylabel("return, deterministic play")
        axes.legend(fontsize=7)

    return svg_figure(draw)


def _band(
    axes: Any,
    runs: Sequence[Record],
    over: str,
    value: Callable[[Record, Point], float],
    style: tuple[str, str, str],
) -> None:
    colour, line, label = style
    places = [[_place(point, over) for point in run.points] for run in runs if run.points]
    if not places:
        return
    grid = np.linspace(max(p[0] for p in places), min(p[-1] for p in places), POINTS)
    lines = np.array(
        [
            np.interp(grid, at, [value(run, point) for point in run.points])
            for run, at in zip(runs, places, strict=True)
        ]
    )
    axes.plot(grid, lines.mean(axis=0), line, color=colour, label=f"{label}, {len(lines)} seeds")
    if len(lines) > 1 and line == "-":
        axes.fill_between(grid, lines.min(axis=0), lines.max(axis=0), color=colour, alpha=0.15)


def _place(point: Point, over: str) -> float:
    return point.cpu_s + point.actors_cpu_s if over == "cpu_s" else float(getattr(point, over))


def widths(costs: Sequence[StepCost], worth: int | None) -> str:
    """Return environment steps a CPU second over the width, a line for each candidate."""

    def draw(axes: Any) -> None:
        for colour, name in zip(
            COLOURS, dict.fromkeys(cost.candidate for cost in costs), strict=False
        ):
            chosen = [cost for cost in costs if cost.candidate == name]
            axes.plot(
                [c.width for c in chosen],
                [1e6 / c.step_us for c in chosen],
                "o-",
                color=colour,
                label=name,
                markersize=3,
            )
        if worth is not None:
            axes.axvline(worth, color="#888", linewidth=0.8, linestyle="--")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("width of each of three hidden layers")
        axes.set_ylabel("environment steps a CPU second")
        axes.legend(fontsize=7)

    return svg_figure(draw)


def saturation(costs: Costs, limits: Limits, measured: Sequence[tuple[int, float]]) -> str:
    """Return environment steps a second over the number of actors: the model, and what was
    measured on this machine's cores.
    """

    def draw(axes: Any) -> None:
        most = max(4, min(512, int(2 * min(limits.learner, limits.store, limits.network))))
        grid = np.unique(np.geomspace(1, most, 60).astype(int))
        modelled = [steps_per_s(costs, int(n)) for n in grid]
        axes.plot(grid, modelled, "-", color=COLOURS[0], label="model (a core for each)")
        if measured:
            axes.plot(*zip(*measured, strict=True), "x", color=COLOURS[2], label="measured here")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("actors")
        axes.set_ylabel("environment steps a second")
        axes.legend(fontsize=7)

    return svg_figure(draw)
