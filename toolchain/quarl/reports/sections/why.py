"""Where the loss of quantisation sits: the measured hints, the changes that were tried, the
decisions that differ most.
"""

from __future__ import annotations

from quarl.evidence.evidence import Evidence, Trial
from quarl.reports.contents import Contents
from quarl.reports.numbers import number, percent, prose, signed
from quarl.reports.page import Cell, Column, Note, Part, Section, Table
from quarl.reports.sections.wording import HELPS, HELPS_NOT

_TITLE = "Where int8 differs from its source"
_TOPICS = {
    "trial": "What was tried",
    "divergence": "When they part",
    "part": "Which part costs most",
    "layer": "Which layer loses most",
    "saturation": "Clipped values",
    "ties": "Ties",
    "calibration": "What the calibration missed",
    "decisions": "Where the actions differ most",
}
_SHOWN = 3  # action values that are written out


def why(contents: Contents) -> Section:
    """Return the section of reasons."""
    lead = (
        "Hints, each with its numbers. They point, they do not decide: a layer may be "
        "noisy and harmless."
    )
    verdict, evidence = contents.verdict, None if contents.is_stale else contents.evidence
    parts: list[Part] = []
    table = [] if evidence is None else _decisions(evidence)
    reasons = (
        ()
        if verdict is None
        else tuple(reason for reason in verdict.why if reason.topic != "decisions" or not table)
    )
    if reasons:
        rows = tuple(
            (Cell(_TOPICS.get(reason.topic, reason.topic)), Cell(prose(reason.text)))
            for reason in reasons
        )
        parts.append(
            Table(
                "What points at a loss",
                (Column("what"), Column("found", "wide")),
                rows,
                css="reasons",
            )
        )
    if evidence is not None:
        parts += _trials(evidence) + table
    if not parts:
        parts.append(
            Note(
                "Nothing was gathered that points anywhere: run quarl parity, then quarl gate.",
                True,
            )
        )
    return Section("why", _TITLE, lead, tuple(parts))


def _trials(evidence: Evidence) -> list[Part]:
    if not evidence.trials:
        return []
    columns = (
        Column("change"),
        Column("helps"),
        Column("before", "number"),
        Column("after", "number"),
        Column("parameters", "number"),
    )
    rows = tuple(
        (
            Cell(trial.change, note=f"{trial.unit}, {trial.observations:,} observations"),
            Cell(tag=HELPS if trial.helps else HELPS_NOT),
            Cell(_value(trial, trial.before)),
            Cell(_value(trial, trial.after)),
            Cell(f"{signed(trial.extra_bytes)} B"),
        )
        for trial in evidence.trials
    )
    return [
        Table(
            "Changes fitted to one half of the held-out observations and measured on the other",
            columns,
            rows,
        )
    ]


def _value(trial: Trial, value: float) -> str:
    return percent(value) if trial.unit.startswith("of ") else number(value)


def _decisions(evidence: Evidence) -> list[Part]:
    if not evidence.worst:
        return []
    columns = (
        Column("observation of the example"),
        Column("source", "number"),
        Column("int8", "number"),
        Column("at stake", "number"),
    )
    rows = tuple(
        (
            Cell(str(worst.observation)),
            Cell(_action(worst.source)),
            Cell(_action(worst.candidate)),
            Cell(number(worst.at_stake)),
        )
        for worst in evidence.worst
    )
    return [Table("Decisions that differ most", columns, rows)]


def _action(values: tuple[float, ...]) -> str:
    shown = ", ".join(number(value, 3) for value in values[:_SHOWN])
    return shown + (", ..." if len(values) > _SHOWN else "")
