"""SARIF 2.1.0, as code scanning services read it: one rule per check, one result per check that
does not pass. What is not proven has the kind "open": the standard's word for a question that could
not be decided, which has no level (3.27.9, 3.27.10).

Follows the OASIS standard "Static Analysis Results Interchange Format Version 2.1.0"; section
numbers below are its own. A verdict is about a bundle, not about a line of code, so every result
points at the bundle's verdict.json. The check's name is the fingerprint: a service shows the same
failure in two runs as one alert.
"""

from __future__ import annotations

import json
from typing import Any

from quarl.files.text import printable
from quarl.resources import VERSION
from quarl.verdict.explanations import explain
from quarl.verdict.formats.wording import found_text, limit_text
from quarl.verdict.verdict import Check, Outcome, Verdict

SARIF_VERSION = "2.1.0"
LOCATION = "verdict.json"


def sarif_text(verdict: Verdict) -> str:
    """Return the SARIF log of the verdict; canonical, so that the same verdict gives the same
    bytes.
    """
    log = {"version": SARIF_VERSION, "runs": [_run(verdict)]}
    return json.dumps(log, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _run(verdict: Verdict) -> dict[str, Any]:
    standing = [
        index
        for index, check in enumerate(verdict.checks)
        if check.outcome in (Outcome.FAIL, Outcome.NOT_PROVEN)
    ]
    return {
        "tool": {
            "driver": {
                "name": "quarl",
                "semanticVersion": VERSION,
                "rules": [_rule(check) for check in verdict.checks],
            }
        },
        "automationDetails": {
            "id": f"quarl/{printable(verdict.policy)}/"
        },  # 3.17.2: keeps the runs of two policies apart
        "results": [_result(verdict.checks[index], index) for index in standing],
    }


def _rule(check: Check) -> dict[str, Any]:
    explanation = explain(check.name)
    return {
        "id": check.name,
        "shortDescription": {"text": f"{check.group}: {check.name.replace('_', ' ')}"},
        "fullDescription": {"text": explanation.meaning},
        "help": {"text": f"{explanation.limit}\n\n{explanation.remedy}"},
        "defaultConfiguration": {"level": "error" if check.outcome.is_judged else "note"},
        "properties": {"tags": [check.group]},
    }


def _result(check: Check, index: int) -> dict[str, Any]:
    message = (
        f"found {found_text(check)}, allowed {limit_text(check)} ({check.kind}): {check.detail}"
    )
    advice = f". {check.advice}" if check.advice else ""
    is_shown = check.outcome is Outcome.FAIL
    return {
        "ruleId": check.name,
        "ruleIndex": index,
        "level": "error" if is_shown else "none",
        "kind": "fail" if is_shown else "open",
        "message": {"text": printable(message + advice)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": LOCATION},
                    "region": {"startLine": 1},
                }
            }
        ],
        "partialFingerprints": {"quarlCheck/v1": check.name},
    }
