"""verdict.json: canonical (sorted keys, shortest round-trip floats), so that the same verdict gives
the same bytes.

Format: toolchain/docs/gate.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from quarl.errors import InputError
from quarl.verdict.verdict import Check, Outcome, Verdict

SCHEMA_VERSION = 3


def verdict_table(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as plain values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "policy": verdict.policy,
        "answer": verdict.answer,
        "may_ship": verdict.may_ship,
        "not_proven": verdict.not_proven,
        "decisions_only": verdict.decisions_only,
        "checks": [{**asdict(check), "margin": check.margin} for check in verdict.checks],
        "why": [asdict(reason) for reason in verdict.why],
        "closed_loop": None
        if verdict.closed_loop is None
        else {
            **asdict(verdict.closed_loop),
            "is_chaotic": verdict.closed_loop.is_chaotic,
            "is_as_chaotic_as_its_source": verdict.closed_loop.is_as_chaotic_as_its_source,
        },
    }


def json_text(verdict: Verdict) -> str:
    """Return the text of verdict.json."""
    return json.dumps(verdict_table(verdict), indent=2, sort_keys=True, allow_nan=False) + "\n"


def read_checks(text: str, where: str = "verdict.json") -> tuple[Check, ...]:
    """Return the checks of a verdict.json, for a comparison with a later verdict.

    Raises:
        InputError: not a verdict, or of another schema version.
    """
    try:
        return checks_of(json.loads(text), where)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{where}: is not a verdict ({error!r}): write one with quarl gate BUNDLE"
        ) from error


def checks_of(document: Mapping[str, Any], where: str) -> tuple[Check, ...]:
    """Return the checks of a verdict read as plain values.

    Raises:
        InputError: of another schema version. KeyError, TypeError: not a verdict.
    """
    if document["schema_version"] != SCHEMA_VERSION:
        found = document["schema_version"]
        raise InputError(
            f"{where}: schema version {found}, this quarl reads version {SCHEMA_VERSION}: "
            "judge the baseline again"
        )
    return tuple(
        Check(
            **{
                **{key: value for key, value in check.items() if key != "margin"},
                "outcome": Outcome(check["outcome"]),
            }
        )
        for check in document["checks"]
    )
