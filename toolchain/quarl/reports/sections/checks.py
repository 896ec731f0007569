"""Every question of the gate: found beside allowed, and how much of the limit is used."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from quarl.reports import svg
from quarl.reports.contents import Contents
from quarl.reports.numbers import percent, prose
from quarl.reports.page import Cell, Column, Note, Part, Section, Table
from quarl.reports.sections.wording import answer_tag, found_text, kind_tag, limit_text, title_of
from quarl.verdict.explanations import EXPLANATIONS
from quarl.verdict.verdict import Check, Outcome

_GROUPS = {
    "import": "Import",
    "calibration": "Calibration",
    "equality": "The same integers on every target",
    "example": "The bundle itself",
    "agreement": "Decisions",
    "closed loop": "Episodes",
    "robustness": "Disturbed observations",
    "budget": "Budgets",
    "regression": "Against the baseline",
}
_COLUMNS = (
    Column("check"),
    Column("answer"),
    Column("found", "number"),
    Column("allowed", "number"),
    Column("of the limit", "number"),
    Column("made"),
)
# the bar's length in percent of the limit; what goes beyond is cut off, the number says by how much
TRACK = 150.0


def checks(contents: Contents) -> Section:
    """Return the section of all checks, by group; figures nobody limits are folded away."""
    lead = (
        "Each check with what was found and what is allowed. A bar's upright stroke is the "
        "limit; what must be at least that passes it."
    )
    verdict = contents.verdict
    if verdict is None:
        return Section(
            "checks",
            "Checks",
            lead,
            (Note("The bundle has no verdict.json, so no check was made: run quarl gate.", True),),
        )
    unlimited = [
        check
        for check in verdict.checks
        if check.group == "budget" and check.outcome is Outcome.REPORTED
    ]
    parts: list[Part] = [
        _table("All checks by group", [check for check in verdict.checks if check not in unlimited])
    ]
    if unlimited:
        parts.append(
            _table(f"Figures without a limit ({len(unlimited)})", unlimited, is_folded=True)
        )
    parts.append(_meanings([check for check in verdict.checks if check not in unlimited]))
    return Section("checks", "Checks and budgets", lead, tuple(parts))


def _table(caption: str, shown: Sequence[Check], *, is_folded: bool = False) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for group in dict.fromkeys(check.group for check in shown):
        if not is_folded:
            rows.append((Cell(_GROUPS.get(group, group.capitalize())),))
        rows += [_row(check) for check in shown if check.group == group]
    return Table(caption, _COLUMNS, tuple(rows), is_folded, "checks")


def _meanings(shown: Sequence[Check]) -> Table:
    """Return what each of the checks asks and how its limit was chosen, once for checks that differ
    by their target only.
    """
    explained = [each for each in EXPLANATIONS if any(each.covers(check.name) for check in shown)]
    rows = tuple((Cell(code=each.name), Cell(each.meaning), Cell(each.limit)) for each in explained)
    columns = (
        Column("check"),
        Column("what it asks", "wide"),
        Column("how its limit was chosen", "wide"),
    )
    return Table(
        "What the checks mean and how their limits were chosen",
        columns,
        rows,
        is_folded=True,
        css="meanings",
    )


def _row(check: Check) -> tuple[Cell, ...]:
    return (
        Cell(title_of(check.name), code=check.name, note=prose(check.detail)),
        Cell(tag=answer_tag(check.outcome)),
        Cell(found_text(check)),
        Cell(limit_text(check)),
        _share(check),
        Cell(tag=kind_tag(check.kind)),
    )


def _share(check: Check) -> Cell:
    """Return how much of the limit is used; nothing where the limit is zero or there is none."""
    if check.found is None or not check.allowed or check.allowed < 0:
        return Cell()
    share = check.found / check.allowed
    return Cell(percent(share), strip=bar(share, is_good=check.outcome is not Outcome.FAIL))


def bar(share: float, *, is_good: bool) -> Markup:
    """Return a bar of a limit's use; the stroke marks the limit itself."""
    length = min(max(100 * share, 1.0 if share > 0 else 0.0), TRACK)
    return svg.strip(
        TRACK,
        12,
        [
            svg.rectangle(0, 2, TRACK, 8, "track"),
            svg.rectangle(0, 2, length, 8, "fill-int8" if is_good else "fill-fail"),
            svg.rectangle(99.2, 0, 1.6, 12, "fill-ink"),
        ],
    )
