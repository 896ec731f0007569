"""A code scanning service can read the verdict: checked against the standard's rules and by an
independent implementation.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarl.evidence.evidence import BackendEquality
from quarl.files.text import printable
from quarl.verdict.formats.sarif import sarif_text
from quarl.verdict.judge import judge
from quarl.verdict.verdict import Check, Outcome, Verdict
from tests.conftest import need
from tests.support.release import GOOD, LIMITS

PASSED = judge(GOOD, LIMITS, policy="cartpole_ppo")
WRONG = BackendEquality("litert", "2.3", 1000, 2000, 1, None)
# one wrong integer, and two questions that nothing was gathered for
FAILED = judge(replace(GOOD, backends=(WRONG,), paired=None), LIMITS, policy="cartpole_ppo")

TEXT = {
    "type": "object",
    "required": ["text"],
    "additionalProperties": False,
    "properties": {"text": {"type": "string", "minLength": 1}},
}


def only(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


# What the standard (SARIF 2.1.0, OASIS 2020) asks of each object quarl writes, with nothing else
# allowed.
SCHEMA = only(
    ["version", "runs"],  # 3.13
    version={"const": "2.1.0"},
    runs={
        "type": "array",
        "items": only(
            ["tool", "results"],  # 3.14
            tool=only(
                ["driver"],  # 3.18
                driver=only(
                    ["name"],  # 3.19
                    name={"type": "string"},
                    semanticVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+([-+].*)?$"},
                    rules={
                        "type": "array",
                        "uniqueItems": True,
                        "items": only(
                            ["id"],  # 3.49
                            id={"type": "string"},
                            shortDescription=TEXT,
                            fullDescription=TEXT,
                            help=TEXT,
                            defaultConfiguration=only(
                                [], level={"enum": ["none", "note", "warning", "error"]}
                            ),
                            properties=only(
                                [],
                                tags={
                                    "type": "array",
                                    "items": {"type": "string"},
                                    "uniqueItems": True,
                                },
                            ),
                        ),
                    },
                ),
            ),
            automationDetails=only([], id={"type": "string"}),  # 3.17
            results={
                "type": "array",
                "items": only(
                    ["message"],  # 3.27
                    ruleId={"type": "string"},
                    ruleIndex={"type": "integer", "minimum": 0},
                    level={"enum": ["none", "note", "warning", "error"]},
                    kind={
                        "enum": ["notApplicable", "pass", "fail", "review", "open", "informational"]
                    },
                    message=TEXT,
                    locations={
                        "type": "array",
                        "items": only(
                            [],  # 3.28
                            physicalLocation=only(
                                ["artifactLocation"],  # 3.29
                                artifactLocation=only(
                                    [], uri={"type": "string", "format": "uri-reference"}
                                ),
                                region=only([], startLine={"type": "integer", "minimum": 1}),
                            ),
                        ),
                    },
                    partialFingerprints={
                        "type": "object",
                        "additionalProperties": {"type": "string"},
                    },
                ),
            },
        ),
    },
)


@pytest.mark.parametrize("verdict", [PASSED, FAILED])
def test_a_verdict_follows_the_standard(verdict: Verdict) -> None:
    log = json.loads(sarif_text(verdict))
    jsonschema.Draft202012Validator(SCHEMA).validate(log)
    run = log["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [check.name for check in verdict.checks]
    assert [result["ruleId"] for result in run["results"]] == [
        check.name for check in verdict.checks if check in (*verdict.failed, *verdict.unproven)
    ]
    assert {result["ruleId"]: (result["kind"], result["level"]) for result in run["results"]} == {
        **{check.name: ("fail", "error") for check in verdict.failed},
        **{check.name: ("open", "none") for check in verdict.unproven},
    }
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])


def test_an_independent_implementation_knows_every_word() -> None:
    need("sarif_pydantic")
    from sarif_pydantic import Sarif

    log = Sarif.model_validate_json(sarif_text(FAILED))
    assert unknown_words(log) == []
    results = log.runs[0].results
    assert results is not None
    assert [result.rule_id for result in results] == [
        "equality_litert",
        "equality_onnxruntime",
        "mean_return",
    ]


def unknown_words(model: Any) -> list[str]:
    """Return the properties that the model has no field for."""
    from pydantic import BaseModel

    if isinstance(model, list):
        return [word for item in model for word in unknown_words(item)]
    if not isinstance(model, BaseModel):
        return []
    return [
        *(model.model_extra or {}),
        *(
            word
            for name in type(model).model_fields
            for word in unknown_words(getattr(model, name))
        ),
    ]


@given(st.text(min_size=1), st.text())
def test_any_text_makes_valid_json(detail: str, advice: str) -> None:
    check = Check(
        "mean_return",
        "closed loop",
        Outcome.FAIL,
        None,
        1.0,
        "at most",
        "",
        "tested",
        detail,
        advice,
    )
    log = json.loads(sarif_text(Verdict("policy", (check,))))
    assert printable(detail) in log["runs"][0]["results"][0]["message"]["text"]


def test_the_same_failure_in_two_runs_is_one_alert() -> None:
    first, second = (
        json.loads(sarif_text(replace(FAILED, policy=name)))["runs"][0]["results"]
        for name in ("a", "b")
    )
    assert [result["partialFingerprints"] for result in first] == [
        result["partialFingerprints"] for result in second
    ]
    assert len({json.dumps(result["partialFingerprints"]) for result in first}) == len(first)
