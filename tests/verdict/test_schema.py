"""verdict.json follows the schema that quarl publishes, and the schema is that of the types."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pytest
from toolchain.dev.verdict_schema import SCHEMA, schema_text

from quarl.verdict.formats.verdict_json import json_text
from quarl.verdict.judge import judge
from quarl.verdict.verdict import Check, Outcome, Verdict
from tests.support.release import GOOD, LIMITS

VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
CHECK = Check("a", "budget", Outcome.REPORTED, None, None, "at most", "", "exact", "")


def test_the_published_schema_is_that_of_the_types() -> None:
    assert SCHEMA.read_text() == schema_text(), (
        "write it again with: python -m toolchain.dev.verdict_schema"
    )


@pytest.mark.parametrize(
    "verdict",
    [
        judge(GOOD, LIMITS, policy="cartpole_ppo"),
        judge(replace(GOOD, backends=(), paired=None), LIMITS, policy="cartpole_ppo"),
        judge(replace(GOOD, agreement=None, paired=None, has_source=False), LIMITS, policy="int8"),
        Verdict("nothing", (CHECK,)),
    ],
)
def test_a_verdict_follows_the_schema(verdict: Verdict) -> None:
    VALIDATOR.validate(json.loads(json_text(verdict)))


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "yes"},
        {"kind": "guessed"},
        {"relation": "about"},
        {"invented": 1},
        {"found": "1"},
    ],
)
def test_the_schema_refuses_what_is_no_verdict(change: dict[str, object]) -> None:
    document = json.loads(json_text(Verdict("nothing", (CHECK,))))
    document["checks"][0] |= change
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)
