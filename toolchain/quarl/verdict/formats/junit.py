"""JUnit XML, as CI servers read it: one test suite per group of checks, one test case per check.

Follows the element and attribute names of the schema Jenkins publishes (xunit-plugin,
junit-10.xsd). A check that was not judged is a skipped test. Times are 0: a verdict has no clock.
"""

from __future__ import annotations

from itertools import groupby
from xml.etree import ElementTree

from quarl.files.text import xml_text
from quarl.verdict.formats.wording import found_text, limit_text
from quarl.verdict.verdict import Check, Verdict


def junit_text(verdict: Verdict) -> str:
    """Return the JUnit XML of the verdict."""
    root = ElementTree.Element(
        "testsuites", _counts(verdict.checks), name=xml_text(f"quarl gate: {verdict.policy}")
    )
    for group, members in groupby(
        sorted(verdict.checks, key=lambda check: check.group), key=lambda check: check.group
    ):
        checks = tuple(members)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            _counts(checks),
            name=group,
            skipped=str(sum(check.passed is None for check in checks)),
        )
        for check in checks:
            _add_case(suite, verdict.policy, check)
    ElementTree.indent(root)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        + ElementTree.tostring(root, encoding="unicode")
        + "\n"
    )


def _add_case(suite: ElementTree.Element, policy: str, check: Check) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        name=xml_text(check.name),
        classname=xml_text(f"quarl.{policy}.{check.group.replace(' ', '_')}"),
        time="0",
    )
    found = f"found {found_text(check)}, allowed {limit_text(check)} ({check.kind})"
    if check.passed is False:
        failure = ElementTree.SubElement(
            case,
            "failure",
            message=xml_text(f"{check.name}: {found}"),
            type=check.group.replace(" ", "_"),
        )
        failure.text = xml_text(f"{check.detail}\n{check.advice}")
        return
    if check.passed is None:
        ElementTree.SubElement(
            case, "skipped", message=xml_text(f"reported, not judged: {check.detail}")
        )
    output = ElementTree.SubElement(case, "system-out")
    output.text = xml_text(f"{found}\n{check.detail}")


def _counts(checks: tuple[Check, ...]) -> dict[str, str]:
    failures = sum(check.passed is False for check in checks)
    return {"tests": str(len(checks)), "failures": str(failures), "errors": "0", "time": "0"}
