"""Regression: this release beside an earlier one that was accepted.

In: a verdict, the checks of the baseline. Out: one check for each check of the baseline.
Counts and sizes must not be worse at all; times only by more than they differ between runs of the
same thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from quarl.verdict.checks import Question, answered, judged, missing, reported
from quarl.verdict.verdict import Check, Outcome, Verdict

# share by which a measured figure may be worse even where its rounds differ by less
MEASURED_NOISE = 0.1


def compare_with_baseline(verdict: Verdict, baseline: Sequence[Check]) -> tuple[Check, ...]:
    """Return one check for each check of an earlier, accepted verdict: whether it is still made,
    still passes and is not worse.

    Exact and emulated figures, and estimates made from them, must not be worse at all, but where a
    runtime's own noise is known by three times that; measured ones by at most 10 % or three times
    their noise, and only on the machine of the baseline. Tested bounds are judged by their own
    limit only, for they move with the episodes. Of what has no limit only the figures of the
    profile are compared.
    """
    now = {check.name: check for check in verdict.checks}
    return tuple(
        _regression_check(now.get(before.name), before)
        for before in baseline
        if _is_compared(before)
    )


def _is_compared(before: Check) -> bool:
    return before.group != "regression" and (
        before.outcome is Outcome.PASS
        or (before.outcome is Outcome.REPORTED and before.group == "budget")
    )


def _regression_check(now: Check | None, before: Check) -> Check:
    question = Question(
        f"regression_{before.name}", "regression", before.relation, before.unit, before.kind
    )
    if now is None:
        detail = "the baseline made this check, this verdict does not"
        advice = "Gather the same evidence as the baseline"
        return missing(replace(question, kind="exact"), before.found, detail, advice)
    if before.kind == "tested" or before.found is None or now.found is None:
        outcome = now.outcome if now.outcome.is_judged else Outcome.PASS
        detail = (
            "passes as in the baseline"
            if outcome is Outcome.PASS
            else f"passed in the baseline: {before.detail}"
        )
        return answered(question, outcome, (now.found, None), detail, now.advice)
    if now.where != before.where:
        here, there = (check.where or "an unknown machine" for check in (now, before))
        detail = f"{here}, in the baseline {there}: times of two machines are not compared"
        return reported(question, now.found, detail)
    noise = 3 * max(now.noise, before.noise)
    if before.kind == "measured":
        noise = max(MEASURED_NOISE, noise)
    slack = abs(before.found) * noise
    limit = before.found + slack if before.relation == "at most" else before.found - slack
    detail = f"{_figure(now)} now, {_figure(before)} in the baseline" + (
        f", {noise:.0%} of noise allowed" if noise else ""
    )
    advice = "Find what made it worse, or accept it: quarl baseline set BUNDLE"
    check = judged(question, now.found, limit, detail, advice)
    if check.outcome is Outcome.PASS or not before.found:
        return check
    worse = f"{abs(now.found / before.found - 1):.2%} worse"
    return replace(check, detail=f"{detail}: {worse}")


def _figure(check: Check) -> str:
    return f"{check.found:,.6g} {check.unit}".rstrip()
