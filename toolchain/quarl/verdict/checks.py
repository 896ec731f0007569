"""How a check is made: found beside allowed, or missing, which fails.

In: what was found and what is allowed. Out: `Check`s, so that every part of the gate words them
alike.
"""

from __future__ import annotations

from typing import Literal

from quarl.profiles.figure import Kind
from quarl.verdict.verdict import Check, Group

SOFTER_INT8 = "Use a higher rung (--rung), or calibrate on more and more varied episodes"


def at_most(
    name: str,
    group: Group,
    found: float,
    allowed: float,
    unit: str,
    kind: Kind,
    detail: str,
    advice: str,
) -> Check:
    """Return the check of an upper limit; the advice is given where it fails."""
    passed = found <= allowed
    return Check(
        name, group, passed, found, allowed, "at most", unit, kind, detail, "" if passed else advice
    )


def missing(
    name: str,
    group: Group,
    allowed: float | None,
    relation: Literal["at most", "at least"],
    unit: str,
    detail: str,
    advice: str,
) -> Check:
    """Return the failed check of something that was not gathered."""
    return Check(name, group, False, None, allowed, relation, unit, "exact", detail, advice)


def reported(name: str, group: Group, found: float, unit: str, kind: Kind, detail: str) -> Check:
    """Return a figure that is shown and has no limit."""
    return Check(name, group, None, found, None, "at most", unit, kind, detail)
