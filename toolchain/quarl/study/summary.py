"""The tables of a study's page, from its results.

In: results. Out: frozen tables of text: rewards by algorithm in the paper's form, what each width
costs over all policies, how the spread of weights goes with the error, entropies, and the holes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quarl.stats.resampling import Change, mean_change, middle_change, rank_correlation
from quarl.study.figures import line_name, lines_of, pairs
from quarl.study.result import Result

FEWEST = 4  # policies that a rank correlation is shown for


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def reward_tables(results: Sequence[Result]) -> list[Table]:
    """Return one table an algorithm: float return, and of each 8-bit (or fp16) line the return and
    the relative error with its interval; the last row is the mean, as QuaRL's tables have it.
    """
    whole = [r for r in results if not r.problem and r.weights in (8, 16)]
    tables = []
    for algorithm in sorted({r.algorithm for r in whole}):
        chosen = [r for r in whole if r.algorithm == algorithm]
        names = list(dict.fromkeys(line_name(r) for r in chosen))
        head = ("policy", "task", "float", *(c for n in names for c in (n, "E %")))
        rows = []
        for policy in dict.fromkeys(_who(r) for r in chosen):
            own = [r for r in chosen if _who(r) == policy]
            cells = [policy, own[0].task, f"{own[0].source_return:.4g}"]
            for name in names:
                found = next((r for r in own if line_name(r) == name), None)
                cells += ["", ""] if found is None else [f"{found.mean_return:.4g}", _error(found)]
            rows.append(tuple(cells))
        means = ["mean", "", ""]
        for name in names:
            line = [r for r in chosen if line_name(r) == name]
            means += ["", _change(mean_change(pairs(line)))] if line else ["", ""]
        tables.append(Table(algorithm, head, (*rows, tuple(means))))
    return tables


def width_table(results: Sequence[Result]) -> Table:
    """Return, for each line of the sweep and each number of bits, the interquartile mean over
    policies of the relative error, with its interval.
    """
    whole = [r for r in results if not r.problem]
    bits = sorted({r.weights for r in whole if r.method != "fp16"}, reverse=True)
    rows = []
    for name in lines_of(whole):
        cells = [name]
        for number in bits:
            line = [r for r in whole if line_name(r) == name and r.weights == number]
            cells.append(_change(middle_change(pairs(line))) if line else "")
        rows.append(tuple(cells))
    return Table(
        "Relative error by bits of the weights",
        ("method", *(f"{number}" for number in bits)),
        tuple(rows),
        "Interquartile mean over policies of (float - quantised) / |float| in %, and its 95 % "
        "interval: episodes resampled within each policy, pairs together.",
    )


def agreement_table(results: Sequence[Result]) -> Table:
    """Return how often each policy decides as its source, by line and bits."""
    whole = [r for r in results if not r.problem and r.method not in ("fp16",)]
    columns = sorted({(line_name(r), r.weights) for r in whole}, key=lambda c: (c[0], -c[1]))
    rows = []
    for policy in dict.fromkeys(_who(r) for r in whole):
        cells = [policy]
        for name, bits in columns:
            own = [
                r.agreement
                for r in whole
                if _who(r) == policy and (line_name(r), r.weights) == (name, bits)
            ]
            known = [share for share in own if share is not None]
            cells.append(f"{np.mean(known):.1%}" if known else "")
        rows.append(tuple(cells))
    head = ("policy", *(f"{name}: {bits}" for name, bits in columns))
    note = "On held-out observations: equal actions, or 1 - the mean error as a share of the range."
    return Table("Agreement with the source", head, tuple(rows), note)


def spread_rows(results: Sequence[Result]) -> list[Result]:
    """Return the results that tell how the width of the weights goes with the paper's error."""
    return [r for r in results if not r.problem and r.method == "paper" and r.weights == 8]


def spread_table(results: Sequence[Result]) -> Table | None:
    """Return the rank correlations of the weights' width with the error at each number of bits."""
    kinds = dict.fromkeys(
        (r.method, r.rung, r.weights) for r in results if r.method in ("paper", "ladder")
    )
    rows = []
    for method, rung, bits in sorted(
        kinds, key=lambda kind: (kind[0] != "paper", kind[1] or 0, -kind[2])
    ):
        chosen = [
            r
            for r in results
            if not r.problem and (r.method, r.rung, r.weights) == (method, rung, bits)
        ]
        if len(chosen) < FEWEST:
            continue
        widths = np.array([r.weight_width for r in chosen])
        errors = np.array([r.relative_error for r in chosen])
        found = rank_correlation(widths, errors)
        value = f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
        name = method if rung is None else f"{method} rung {rung}"
        rows.append((name, str(bits), str(found.points), value))
    if not rows:
        return None
    head = ("method", "bits", "policies", "rank correlation")
    return Table("Width of the weights against the relative error", head, tuple(rows))


def entropy_table(results: Sequence[Result]) -> Table | None:
    """Return the mean entropy of the action distribution, by line and bits."""
    whole = [r for r in results if not r.problem and r.entropy is not None]
    if not whole:
        return None
    columns = list(dict.fromkeys((line_name(r), r.weights) for r in whole))
    rows = []
    for policy in dict.fromkeys(_who(r) for r in whole):
        cells = [policy]
        for column in columns:
            own = [
                r.entropy
                for r in whole
                if _who(r) == policy
                and (line_name(r), r.weights) == column
                and r.entropy is not None
            ]
            cells.append(f"{np.mean(own):.3f}" if own else "")
        rows.append(tuple(cells))
    head = ("policy", *(f"{name}: {bits}" for name, bits in columns))
    return Table("Entropy of the actions, nats", head, tuple(rows))


def holes(results: Sequence[Result]) -> Table | None:
    """Return the cells without numbers, and why."""
    rows = tuple((_who(r), line_name(r), str(r.weights), r.problem) for r in results if r.problem)
    return Table("Holes", ("policy", "method", "bits", "why"), rows) if rows else None


def _who(result: Result) -> str:
    return f"{result.policy} (seed {result.training_seed})"


def _error(result: Result) -> str:
    return f"{result.relative_error:.2f} [{result.error_low:.1f}, {result.error_high:.1f}]"


def _change(change: Change) -> str:
    return f"{change.percent:.2f} [{change.low:.1f}, {change.high:.1f}]"
