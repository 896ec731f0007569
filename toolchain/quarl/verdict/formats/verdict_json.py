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
from quarl.files.documents import Document, read_json, value_of
from quarl.files.text import shortened
from quarl.verdict.verdict import Check, Verdict

SCHEMA_VERSION = 4
SAME_CHECKS = (3, SCHEMA_VERSION)  # versions whose checks are alike, so that baselines stay
DERIVED = ("is_chaotic", "is_as_chaotic_as_its_source")  # of the closed loop, for readers
DOCUMENT = Document("a verdict", SCHEMA_VERSION, "write one with quarl gate BUNDLE")


def verdict_table(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as plain values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "policy": verdict.policy,
        "manifest_sha256": verdict.manifest_sha256,
        "evidence_sha256": verdict.evidence_sha256,
        "run": verdict.run,
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
            **{name: getattr(verdict.closed_loop, name) for name in DERIVED},
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
    return checks_of(read_json(text.encode("utf-8", "replace"), where, DOCUMENT), where)


def checks_of(document: Mapping[str, Any], where: str) -> tuple[Check, ...]:
    """Return the checks of a verdict read as plain values.

    Raises:
        InputError: of another schema version, or values that a verdict does not hold.
    """
    found = document.get("schema_version")
    if found not in SAME_CHECKS or isinstance(found, bool):
        raise InputError(
            f"{where}: schema version {shortened(found)}, this quarl reads version "
            f"{SCHEMA_VERSION}: judge the baseline again"
        )
    checks = document.get("checks")
    if not isinstance(checks, list) or not all(isinstance(check, dict) for check in checks):
        raise InputError(f"{where}: is not {DOCUMENT.title} (no list of checks): {DOCUMENT.remedy}")
    plain = [{key: check[key] for key in check if key != "margin"} for check in checks]
    return value_of(tuple[Check, ...], plain, where, DOCUMENT)
