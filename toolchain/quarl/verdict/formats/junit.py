"""JUnit XML, as CI servers read it: one test suite per group of checks, one test case per check.

Follows the element and attribute names of the schema Jenkins publishes (xunit-plugin,
junit-10.xsd). What was shown to break its limit is a failure, what is not proven an error, since
the test could not be decided. A figure without a limit is a skipped test, and so is what is not
proven
where [gate] not_proven = "warn" lets it pass. Times are 0: a verdict has no clock.
"""

from __future__ import annotations

from itertools import groupby
from xml.etree import ElementTree

from quarl.files.text import xml_text
from quarl.verdict.formats.wording import found_text, limit_text
from quarl.verdict.verdict import Check, Outcome, Verdict


def junit_text(verdict: Verdict) -> str:
    """Return the JUnit XML of the verdict."""
    lenient = verdict.may_ship
    root = ElementTree.Element(
        "testsuites",
        _counts(verdict.checks, lenient),
        name=xml_text(f"quarl gate: {verdict.policy}"),
    )
    for group, members in groupby(
        sorted(verdict.checks, key=lambda check: check.group), key=lambda check: check.group
    ):
        checks = tuple(members)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            _counts(checks, lenient),
            name=group,
            skipped=str(sum(_is_skipped(check, lenient) for check in checks)),
        )
        for check in checks:
            _add_case(suite, verdict.policy, check, lenient)
    ElementTree.indent(root)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        + ElementTree.tostring(root, encoding="unicode")
        + "\n"
    )


def _add_case(suite: ElementTree.Element, policy: str, check: Check, lenient: bool) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        name=xml_text(check.name),
        classname=xml_text(f"quarl.{policy}.{check.group.replace(' ', '_')}"),
        time="0",
    )
    found = f"found {found_text(check)}, allowed {limit_text(check)} ({check.kind})"
    if check.outcome is Outcome.FAIL or _is_error(check, lenient):
        failure = ElementTree.SubElement(
            case,
            "failure" if check.outcome is Outcome.FAIL else "error",
            message=xml_text(f"{check.name}: {found}"),
            type=check.group.replace(" ", "_"),
        )
        failure.text = xml_text(f"{check.detail}\n{check.advice}")
        return
    if _is_skipped(check, lenient):
        why = (
            "no limit" if check.outcome is Outcome.REPORTED else "not proven, allowed as a warning"
        )
        ElementTree.SubElement(case, "skipped", message=xml_text(f"{why}: {check.detail}"))
    output = ElementTree.SubElement(case, "system-out")
    output.text = xml_text(f"{found}\n{check.detail}")


def _is_error(check: Check, lenient: bool) -> bool:
    return check.outcome is Outcome.NOT_PROVEN and not lenient


def _is_skipped(check: Check, lenient: bool) -> bool:
    return check.outcome is Outcome.REPORTED or (check.outcome is Outcome.NOT_PROVEN and lenient)


def _counts(checks: tuple[Check, ...], lenient: bool) -> dict[str, str]:
    failures = sum(check.outcome is Outcome.FAIL for check in checks)
    errors = sum(_is_error(check, lenient) for check in checks)
    return {
        "tests": str(len(checks)),
        "failures": str(failures),
        "errors": str(errors),
        "time": "0",
    }
