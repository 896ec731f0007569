"""How the integers were chosen: the rungs that were tried, and what the calibration covers."""

from __future__ import annotations

from quarl.bundle.rung_result import RungResult
from quarl.quantize.calibration import Coverage
from quarl.reports.contents import Contents
from quarl.reports.fidelity import fidelity_figure
from quarl.reports.numbers import number, signed, size
from quarl.reports.page import Cell, Column, Facts, Note, Part, Section, Table, Tag

_TITLE = "How it was quantised"
_HOLDS, _HOLDS_NOT = (
    Tag("\N{CHECK MARK} holds", "pass"),
    Tag("\N{MULTIPLICATION X} does not", "fail"),
)


def quantisation(contents: Contents) -> Section:
    """Return the section of ladder and calibration."""
    manifest = contents.manifest
    if manifest.rung is None:
        words = f"{manifest.origin.file} held integers already; they were exported as they are."
        return Section(
            "quantisation", _TITLE, "Nothing was rounded by quarl.", (Note(words, True),)
        )
    parts: list[Part] = []
    figure = fidelity_figure(manifest.ladder, manifest.ceilings)
    if figure is not None:
        parts.append(figure)
    parts.append(_ladder(manifest.ladder))
    if manifest.calibration is not None:
        parts.append(_calibration(manifest.calibration))
    lead = (
        f"Rung {manifest.rung} of the ladder; the most faithful integers within the cost that keep "
        "the paired return are taken, on other episodes than the gate's."
    )
    return Section("quantisation", _TITLE, lead, tuple(parts))


def _ladder(ladder: tuple[RungResult, ...]) -> Table:
    columns = (
        Column("rung"),
        Column("holds"),
        Column("unlike the source", "number"),
        Column("cost", "number"),
        Column("parameters", "number"),
        Column("decision error", "number"),
        Column("change of the return", "number"),
        Column("failures", "number"),
    )
    rows = []
    for rung in ladder:
        mean, failures, missed = rung.mean, rung.failures, rung.missed
        holds = (
            Cell("not played", note="; ".join(missed))
            if mean is None
            else Cell(tag=_HOLDS_NOT if missed else _HOLDS, note="; ".join(missed))
        )
        change = Cell("not played")
        if mean is not None:
            change = Cell(
                signed(mean.mean_difference),
                note=f"of {number(mean.mean_source)}, {mean.episodes} episodes",
            )
        rise = (
            Cell("not known")
            if failures is None
            else Cell(f"{signed(100 * failures.rate_difference, 3)} points")
        )
        name = Cell(f"{rung.rung} {rung.name}", note="taken" if rung.taken else "")
        rows.append(
            (
                name,
                holds,
                Cell(
                    "not asked" if rung.differing is None else f"{number(100 * rung.differing)} %"
                ),
                _cost(rung),
                Cell(size(float(rung.parameter_bytes))),
                Cell(number(rung.decision_error)),
                change,
                rise,
            )
        )
    caption = "Candidates, those that played with their measured return"
    return Table(caption, columns, tuple(rows))


def _cost(rung: RungResult) -> Cell:
    if rung.cost is None or rung.instructions is None:
        return Cell("not known")
    note = f"{rung.instructions:,} instructions, {rung.counted}"
    return Cell(f"{number(rung.cost)} times", note=note)


def _calibration(covered: Coverage) -> Facts:
    still = ", ".join(covered.constant_features) or "none"
    episodes, observations = covered.episodes, covered.observations
    origin = f"from {episodes:,} episodes" if episodes else "episodes not known"
    rows = (
        ("Observations", Cell(f"{observations:,}", note=origin)),
        ("Different ones among them", Cell(f"{covered.distinct:,}")),
        ("Features that never moved", Cell(still)),
        ("SHA-256", Cell(code=covered.sha256)),
    )
    return Facts("Calibration", rows)
