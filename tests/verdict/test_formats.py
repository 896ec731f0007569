"""What is written is what was judged, in a form its reader accepts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarl.errors import InputError
from quarl.evidence.evidence import BackendEquality, FirstDifference
from quarl.verdict.formats import OUTPUTS
from quarl.verdict.formats.junit import junit_text
from quarl.verdict.formats.markdown import append_summary, markdown_text
from quarl.verdict.formats.verdict_json import json_text, read_checks
from quarl.verdict.judge import judge
from quarl.verdict.verdict import Check, Outcome, Verdict
from tests.support.release import GOOD, LIMITS

PASSED = judge(GOOD, LIMITS, policy="cartpole_ppo")
UNPROVEN = judge(replace(GOOD, paired=None), LIMITS, policy="cartpole_ppo")
FAILED = judge(
    replace(
        GOOD,
        backends=(
            BackendEquality("litert", "2.3", 10, 20, 2, FirstDifference(3, 1, 4, 5)),
            GOOD.backends[1],
        ),
        paired=None,
    ),
    LIMITS,
    policy="cartpole_ppo",
)

# element -> (attributes that must be there, attributes that may be there, children that may be
# there), after Jenkins' junit-10.xsd
JUNIT_SCHEMA = {
    "testsuites": (
        set(),
        {"name", "time", "tests", "failures", "errors", "disabled"},
        {"testsuite"},
    ),
    "testsuite": (
        {"name"},
        {"tests", "failures", "errors", "time", "skipped", "hostname", "id", "timestamp"},
        {"testcase"},
    ),
    "testcase": (
        {"name"},
        {"classname", "time", "assertions", "status"},
        {"skipped", "failure", "error", "system-out", "system-err"},
    ),
    "failure": (set(), {"message", "type"}, set()),
    "error": (set(), {"message", "type"}, set()),
    "skipped": (set(), {"message", "type"}, set()),
    "system-out": (set(), set(), set()),
}


def check(**changes: object) -> Check:
    plain = Check(
        "equality_litert",
        "equality",
        Outcome.FAIL,
        2,
        0,
        "at most",
        "outputs",
        "exact",
        "detail",
        "advice",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def assert_valid_junit(element: ElementTree.Element) -> None:
    required, optional, children = JUNIT_SCHEMA[element.tag]
    assert required <= set(element.attrib) <= required | optional
    for child in element:
        assert child.tag in children
        assert_valid_junit(child)


def test_json_says_what_was_judged() -> None:
    document = json.loads(json_text(FAILED))
    assert (document["schema_version"], document["answer"], document["policy"]) == (
        4,
        "fail",
        "cartpole_ppo",
    )
    assert [entry["name"] for entry in document["checks"]] == [c.name for c in FAILED.checks]
    assert document["closed_loop"] is None
    loop = json.loads(json_text(PASSED))["closed_loop"]
    assert loop["mean"]["t_lower"] <= loop["mean"]["mean_difference"]


def test_the_same_evidence_gives_the_same_bytes() -> None:
    assert json_text(judge(GOOD, LIMITS, policy="cartpole_ppo")) == json_text(PASSED)


def test_checks_survive_the_file() -> None:
    assert read_checks(json_text(FAILED)) == FAILED.checks


@pytest.mark.parametrize(
    "text", ["", "{}", '{"schema_version": 1}', '{"schema_version": 3, "checks": [{"name": "x"}]}']
)
def test_a_file_that_is_no_verdict_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"verdict\.json"):
        read_checks(text)


@pytest.mark.parametrize("verdict", [PASSED, FAILED, UNPROVEN])
def test_junit_has_one_case_per_check_and_follows_the_schema(verdict: Verdict) -> None:
    root = ElementTree.fromstring(junit_text(verdict))
    assert_valid_junit(root)
    cases = list(root.iter("testcase"))
    assert sorted(case.attrib["name"] for case in cases) == sorted(c.name for c in verdict.checks)
    assert sorted(c.attrib["name"] for c in cases if c.find("failure") is not None) == sorted(
        c.name for c in verdict.failed
    )
    assert (
        int(root.attrib["failures"])
        == len(verdict.failed)
        == sum(int(suite.attrib["failures"]) for suite in root)
    )
    assert sorted(c.attrib["name"] for c in cases if c.find("error") is not None) == sorted(
        c.name for c in verdict.unproven
    )
    assert int(root.attrib["errors"]) == len(verdict.unproven)
    assert len({suite.attrib["name"] for suite in root}) == len(root)


def test_a_check_that_was_not_judged_is_a_skipped_test() -> None:
    root = ElementTree.fromstring(junit_text(PASSED))
    skipped = [
        case.attrib["name"] for case in root.iter("testcase") if case.find("skipped") is not None
    ]
    assert sorted(skipped) == sorted(c.name for c in PASSED.checks if c.outcome is Outcome.REPORTED)
    assert sum(int(suite.attrib["skipped"]) for suite in root) == len(skipped)


@given(st.text(), st.text())
def test_any_text_gives_xml_that_can_be_read(policy: str, detail: str) -> None:
    root = ElementTree.fromstring(
        junit_text(Verdict(policy, (check(detail=detail, advice=policy),)))
    )
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None


def test_a_control_character_is_shown_in_xml() -> None:
    root = ElementTree.fromstring(
        junit_text(Verdict("a\x00b<&>", (check(detail="\x1b[1m]]>\ud800"),)))
    )
    assert root.attrib["name"] == "quarl gate: a\\x00b<&>"


def test_markdown_gives_the_verdict_first_then_failures_then_every_check() -> None:
    lines = markdown_text(FAILED).splitlines()
    assert lines[0] == "## quarl gate: FAIL: cartpole\\_ppo must not be released"
    assert any(
        line.startswith("- **equality\\_litert** (FAIL): 2 of 20 integers") for line in lines
    )
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 1 + len(FAILED.checks)
    assert (
        "| equality\\_litert | ❌ FAIL | 2 outputs | at most 0 outputs | exact |"
        in markdown_text(FAILED)
    )
    assert markdown_text(PASSED).splitlines()[0] == (
        "## quarl gate: PASS: cartpole\\_ppo may be released"
    )


@given(st.text())
def test_any_text_stays_in_its_cell(detail: str) -> None:
    row = markdown_text(Verdict("p", (check(detail=detail),))).splitlines()[-1]
    assert row.replace("\\\\", "").replace("\\|", "").count("|") == 7
    assert "<" not in row


def test_the_summary_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    append_summary(PASSED, path)
    append_summary(FAILED, path)
    assert path.read_text() == f"before\n{markdown_text(PASSED)}\n{markdown_text(FAILED)}\n"


def test_a_summary_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the summary cannot be written"):
        append_summary(PASSED, tmp_path)


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_every_output_names_the_failed_check(name: str) -> None:
    assert "litert" in OUTPUTS[name](FAILED)
