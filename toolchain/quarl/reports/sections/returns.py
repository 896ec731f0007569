"""The paired episodes: how the return moved, against the margin, and pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from quarl.evidence.closed_loop import ClosedLoop, PairedEpisodes, Summary
from quarl.evidence.evidence import DisturbedEpisodes
from quarl.reports import svg
from quarl.reports.axes import Scale, frame, spread
from quarl.reports.contents import Contents
from quarl.reports.numbers import count, decimals_for, fixed, number, percent, signed
from quarl.reports.page import Cell, Column, Figure, Gallery, Note, Part, Section, Table
from quarl.reports.sections.wording import kind_tag, plain_env
from quarl.rollouts.robustness import DISTURBANCES
from quarl.stats.outcomes import FailureTest

_TITLE = "Return"
_WIDTH, _NAMES = 420.0, 106.0
_CELLS = ("mean", "median", "middle half", "worst tenth", "worst", "best")


def returns(contents: Contents) -> Section:
    """Return the section of the paired episodes."""
    loop = None if contents.verdict is None else contents.verdict.closed_loop
    paired = None if contents.evidence is None else contents.evidence.paired
    if loop is None or paired is None:
        return Section(
            "returns",
            _TITLE,
            "Does the int8 policy still play as well as its source?",
            (Note(_why_not(contents), True),),
        )
    lead = (
        f"{count(loop.episodes, 'paired episode')} in {plain_env(loop.env_id)}: source, int8 "
        "artifact and a float64 copy of the source play"
        " the same seeds. The policy has to prove that it loses less than "
        f"{number(loop.mean.margin)} of return.{_looks(loop)}{_planned(contents)}"
    )
    parts: list[Part] = [Gallery((_differences(loop), _pairs(paired, loop))), _summaries(loop)]
    if contents.evidence is not None and contents.evidence.robustness:
        parts.append(_robustness(contents.evidence.robustness))
    if loop.is_chaotic:
        parts.append(
            Note(
                f"The float64 copy moves an episode by {number(loop.chaos.control_spread)}, int8 "
                f"by {number(loop.chaos.candidate_spread)}: the environment is chaotic at this "
                "margin, so a difference of that size says nothing about int8."
            )
        )
    return Section("returns", _TITLE, lead, tuple(parts))


def _looks(loop: ClosedLoop) -> str:
    if loop.looks < 2:
        return ""
    stopped = (
        f"settled at look {loop.look} of {loop.looks}"
        if loop.look < loop.looks
        else f"all {loop.looks} looks were taken"
    )
    return (
        f" Up to {loop.planned_episodes:,} episodes were planned; {stopped}, and each look "
        "spends its share of the error."
    )


def _planned(contents: Contents) -> str:
    """Return what the first look showed, with a capital letter and a full stop."""
    plan = None if contents.evidence is None else contents.evidence.plan
    if plan is None:
        return ""
    said = plan.sentence()
    return f" {said[:1].upper()}{said[1:]}."


def _why_not(contents: Contents) -> str:
    evidence = contents.evidence
    if evidence is not None and not evidence.has_source:
        return (
            "The policy came as an int8 file: there is no full-precision source whose "
            "episodes could be compared."
        )
    if contents.is_stale:
        return "The evidence in parity.json was gathered on another export: run quarl parity again."
    if evidence is None or evidence.paired is None:
        return "No paired episodes were played: run quarl parity BUNDLE --env ID, then quarl gate."
    return (
        "The episodes were played but not judged: run quarl gate, and see its checks for "
        "the reason."
    )


def _differences(loop: ClosedLoop) -> Figure:
    """Draw the differences with their intervals, each kind on an axis with its margin."""
    mean, control, low, failures = loop.mean, loop.control_mean, loop.low_quantile, loop.failures
    top, row = 34.0, 36.0
    reach = (
        mean.lower,
        mean.mean_difference,
        control.lower,
        control.mean_difference,
        low.lower,
        low.upper,
        0.0,
        -mean.margin * 1.15,
    )
    x = Scale(*spread(reach, 0.08), _NAMES, _WIDTH - 8)
    base = top + 3 * row
    parts = _panel(
        (top, base),
        x,
        _Margin(-mean.margin, f"margin {signed(-mean.margin)}"),
        "difference of the return, int8 \N{MINUS SIGN} source",
    )
    ends: _Ends = (mean.lower, mean.mean_difference, None)
    parts += _interval(x, top + 0.5 * row, "mean", ends, "int8")
    for bound in (mean.t_lower, mean.skew_lower, mean.bootstrap_lower):
        parts.append(svg.rectangle(x(bound) - 0.75, top + 0.5 * row - 6, 1.5, 12, "fill-int8"))
    ends = (low.lower, low.difference, low.upper)
    parts += _interval(x, top + 1.5 * row, "worst tenth", ends, "int8")
    ends = (control.lower, control.mean_difference, None)
    parts += _interval(x, top + 2.5 * row, "mean, float64", ends, "source")
    height = base + 40
    words = (
        f"The mean moves by {signed(mean.mean_difference)}, with {percent(1 - mean.alpha)} "
        f"confidence by {signed(mean.lower)} or more;"
        f" {signed(-mean.margin)} would be too much. The float64 copy moves by "
        f"{signed(control.mean_difference, 2)}."
    )
    if failures is not None:
        drawn, height = _failures(failures, loop.control_failures, height + 34)
        parts += drawn
        words += (
            f" The failure rate moves by {_points(failures.rate_difference)} points, by "
            f"at most {_points(failures.upper)}."
        )
    label = f"Differences between int8 and source with their intervals. {words}"
    return Figure(
        "Against the margin",
        svg.drawing(_WIDTH, height, label, parts),
        words,
        _bounds(loop),
        kind_tag("tested"),
    )


def _failures(
    test: FailureTest, control: FailureTest | None, top: float
) -> tuple[list[Markup], float]:
    """Draw the rise of the failure rate in points; return the drawing and where it ends."""
    row, tests = (
        36.0,
        [
            ("failures", test, "int8"),
            *([] if control is None else [("failures, float64", control, "source")]),
        ],
    )
    reach = [100 * value for _, each, _ in tests for value in (each.rate_difference, each.upper)]
    x = Scale(*spread([*reach, 0.0, 115 * test.margin], 0.08), _NAMES, _WIDTH - 8)
    base = top + len(tests) * row
    parts = _panel(
        (top, base),
        x,
        _Margin(100 * test.margin, f"margin {_points(test.margin)}", is_upper=True),
        "rise of the failure rate, points",
    )
    for place, (name, each, who) in enumerate(tests):
        ends: _Ends = (None, 100 * each.rate_difference, 100 * each.upper)
        parts += _interval(x, top + (place + 0.5) * row, name, ends, who)
    return parts, base + 40


_Ends = tuple[float | None, float, float | None]  # of an interval: low, middle, high


@dataclass(frozen=True, slots=True)
class _Margin:
    """A limit of an axis, with its words; what lies below it is forbidden, or above it."""

    value: float
    name: str
    is_upper: bool = False


def _panel(y: tuple[float, float], x: Scale, margin: _Margin, title: str) -> list[Markup]:
    """Draw an axis from y[0] down to y[1], with its forbidden side."""
    top, base = y
    limit = x(margin.value)
    left, right = (limit, x.end) if margin.is_upper else (x.start, limit)
    middle = (x.start + x.end) / 2
    parts = [svg.rectangle(left, top, right - left, base - top, "forbidden")]
    for value in x.ticks(4):
        parts += [
            svg.line((x(value), top), (x(value), base), "grid"),
            svg.text(x(value), base + 16, number(value), "tick", "middle"),
        ]
    return [
        *parts,
        svg.line((x(0), top), (x(0), base), "zero"),
        svg.line((x.start, base), (x.end, base), "axis"),
        svg.line((limit, top - 5), (limit, base), "limit"),
        svg.text(limit, top - 10, margin.name, "quiet", "end" if limit > middle else "start"),
        svg.text(middle, base + 34, title, "label", "middle"),
    ]


def _interval(x: Scale, y: float, name: str, interval: _Ends, who: str) -> list[Markup]:
    """Draw an interval [low, middle, high]; where it has no end on a side it runs on as an
    arrow.
    """
    low, middle, high = interval
    whisker = f"whisker-{who}"
    start, end = x.start if low is None else x(low), x.end if high is None else x(high)
    parts = [svg.text(0, y + 4, name, "name"), svg.line((start, y), (end, y), whisker)]
    for place, bound, way in ((start, low, 5), (end, high, -5)):
        ends = (
            [(place, y - 5), (place, y + 5)]
            if bound is not None
            else [(place + way, y - 4), (place, y), (place + way, y + 4)]
        )
        parts.append(svg.path(ends, whisker))
    place = min(max(x(middle), x.start), x.end)
    mark = (
        svg.disc((place, y), 5, "fill-int8")
        if who == "int8"
        else svg.rectangle(place - 4.5, y - 4.5, 9, 9, "fill-source")
    )
    return [*parts, mark]


def _bounds(loop: ClosedLoop) -> Table:
    mean, control, low, failures = loop.mean, loop.control_mean, loop.low_quantile, loop.failures
    decimals = decimals_for((mean.margin, mean.lower, mean.mean_difference))

    def row(name: str, difference: float, bound: float, how: str) -> tuple[Cell, ...]:
        return (
            Cell(name),
            Cell(fixed(difference, decimals)),
            Cell(fixed(bound, decimals)),
            Cell(how),
        )

    rows = [
        row("mean return", mean.mean_difference, mean.lower, "the most careful of the next three"),
        row("mean return", mean.mean_difference, mean.t_lower, "paired t"),
        row("mean return", mean.mean_difference, mean.skew_lower, "t, corrected for skewness"),
        row(
            "mean return",
            mean.mean_difference,
            mean.bootstrap_lower,
            "bootstrap, bias-corrected and accelerated",
        ),
        row(
            "worst tenth",
            low.difference,
            low.lower,
            f"two-sided, upper end {fixed(low.upper, decimals)}",
        ),
        row("mean return, float64", control.mean_difference, control.lower, "the control"),
    ]
    if failures is not None:
        moved = Cell(_points(failures.rate_difference)), Cell(_points(failures.upper))
        rows.append(
            (Cell("failure rate, points"), *moved, Cell("upper bound, exact unconditional"))
        )
    columns = (
        Column("what"),
        Column("difference", "number"),
        Column("bound", "number"),
        Column("how"),
    )
    return Table(
        f"Bounds, one-sided with {percent(1 - mean.alpha)} confidence", columns, tuple(rows)
    )


def _points(share: float) -> str:
    return signed(100 * share, 3)


def _pairs(paired: PairedEpisodes, loop: ClosedLoop) -> Figure:
    """Draw the int8 return over the source's, episode by episode."""
    source, int8 = paired.source.returns, paired.candidate.returns
    ends = spread([*source.tolist(), *int8.tolist()], 0.05)
    height = 380.0
    x, y = Scale(*ends, 52.0, _WIDTH - 10.0), Scale(*ends, height - 44.0, 26.0)
    parts = frame(x, y, "return of the source (float32)", "return of int8")
    parts.append(svg.line((x(ends[0]), y(ends[0])), (x(ends[1]), y(ends[1])), "diagonal"))
    margin, difference = loop.mean.margin, int8 - source
    for seed, a, b in zip(paired.source.seeds, source.tolist(), int8.tolist(), strict=True):
        words, at = f"seed {seed}: {number(a)} to {number(b)}", (x(a), y(b))
        parts.append(
            svg.cross(at, 3.5, "cross", words)
            if b < a - margin
            else svg.disc(at, 3.2, "ring" if b > a + margin else "dot", words)
        )
    shares = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
    quantiles = [float(value) for value in np.quantile(difference, shares)]
    decimals = decimals_for(quantiles)
    rows = tuple(
        (Cell(percent(share)), Cell(fixed(value, decimals)))
        for share, value in zip(shares, quantiles, strict=True)
    )
    table = Table(
        "Difference int8 \N{MINUS SIGN} source by quantile",
        (Column("quantile"), Column("difference", "number")),
        rows,
    )
    worse, better = int((difference < -margin).sum()), int((difference > margin).sum())
    words = (
        f"Each mark is one seed. {count(worse, 'episode')} lost more than the margin "
        f"(\N{MULTIPLICATION SIGN}),"
        f" {count(better, 'episode')} gained more (ring); "
        f"{count(loop.equal_episodes, 'is', 'are')} exactly equal."
    )
    return Figure(
        "Pair by pair",
        svg.drawing(_WIDTH, height, f"Return of int8 over return of the source. {words}", parts),
        words,
        table,
    )


def _summaries(loop: ClosedLoop) -> Table:
    players = (
        ("source, float32", loop.source),
        ("int8", loop.candidate),
        ("control, float64", loop.control),
    )
    decimals = decimals_for(value for _, player in players for value in _values(player))
    rows = tuple((Cell(name), *_summary_cells(player, decimals)) for name, player in players)
    caption = (
        "Returns by player. Middle half: the interquartile mean; worst tenth: the 10 % quantile"
    )
    if loop.failure.rule == "success":
        caption += "; failed: without success"
    elif loop.failure.below is not None:
        caption += f"; failed: a return below {number(loop.failure.below)}"
    return Table(
        caption,
        (Column("player"), *(Column(title, "number") for title in (*_CELLS, "failed", "steps"))),
        rows,
    )


def _robustness(disturbed: Sequence[DisturbedEpisodes]) -> Table:
    """Return source and int8 side by side under each disturbance of the observations."""
    rows = []
    for each in disturbed:
        known = DISTURBANCES.get(each.disturbance)
        source, int8 = float(each.source.returns.mean()), float(each.candidate.returns.mean())
        decimals = decimals_for((source, int8))
        name = Cell(
            each.disturbance if known is None else known.title,
            note=f"{count(len(each.source.seeds), 'episode')} of each",
        )
        rows.append(
            (
                name,
                Cell(fixed(source, decimals)),
                Cell(fixed(int8, decimals)),
                Cell(signed(int8 - source)),
            )
        )
    columns = (
        Column("disturbance"),
        Column("source, mean", "number"),
        Column("int8, mean", "number"),
        Column("difference", "number"),
    )
    return Table(
        "Returns when the observations are disturbed, the same way for both", columns, tuple(rows)
    )


def _values(player: Summary) -> tuple[float, ...]:
    return (
        player.mean,
        player.median,
        player.interquartile_mean,
        player.low_quantile,
        player.smallest,
        player.largest,
    )


def _summary_cells(player: Summary, decimals: int) -> tuple[Cell, ...]:
    failed = Cell("not known")
    if player.failure_rate is not None:
        ends = (
            ""
            if player.failure_interval is None
            else " to ".join(fixed(100 * end, 2) for end in player.failure_interval)
        )
        failed = Cell(f"{fixed(100 * player.failure_rate, 2)} %", note=ends)
    return (
        *(Cell(fixed(value, decimals)) for value in _values(player)),
        failed,
        Cell(fixed(player.mean_length, 1)),
    )
