"""How a figure and its limit read in every output."""

from __future__ import annotations

from quarl.verdict.verdict import Check, Outcome, Verdict

ANSWERS = {
    Outcome.PASS: "PASS",
    Outcome.FAIL: "FAIL",
    Outcome.NOT_PROVEN: "NOT PROVEN",
    Outcome.REPORTED: "no limit",
}


def headline(verdict: Verdict) -> str:
    """Return the answer in one line."""
    basis = " (decisions only)" if verdict.decisions_only else ""
    may = "may" if verdict.may_ship else "must not"
    return f"{ANSWERS[verdict.answer]}{basis}: {verdict.policy} {may} be released"


def found_text(check: Check) -> str:
    """Return what was found, with its unit."""
    if check.found is None:
        return "not known" if check.outcome is Outcome.REPORTED else "not measured"
    return _with_unit(check.found, check.unit)


def limit_text(check: Check) -> str:
    """Return the limit with its relation and unit."""
    return (
        "no limit"
        if check.allowed is None
        else f"{check.relation} {_with_unit(check.allowed, check.unit)}"
    )


def _with_unit(value: float, unit: str) -> str:
    number = f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:,.4g}"
    return f"{number} {unit}".rstrip()
