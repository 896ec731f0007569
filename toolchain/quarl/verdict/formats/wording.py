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
    may = "may" if verdict.may_ship else "must not"
    return f"{ANSWERS[verdict.answer]}{kind_of(verdict)}: {verdict.policy} {may} be released"


def kind_of(verdict: Verdict) -> str:
    """Return what the answer is of, in brackets, where that is no ordinary comparison."""
    if verdict.decisions_only:
        return " (decisions only)"
    loop = verdict.closed_loop
    is_chaotic = loop is not None and loop.is_as_chaotic_as_its_source
    return " (as chaotic as its source)" if is_chaotic else ""


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
