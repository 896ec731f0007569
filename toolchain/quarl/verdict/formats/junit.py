"""JUnit XML, as CI servers read it: one test suite per group of checks, one test case per check.

Follows the element and attribute names of the schema Jenkins publishes (xunit-plugin,
junit-10.xsd). A check that was not judged is a skipped test. Times are 0: a verdict has no clock.
"""

from __future__ import annotations

import re
from itertools import groupby
from xml.etree import ElementTree

from quarl.verdict.formats.wording import found_text, limit_text
from quarl.verdict.verdict import Check, Verdict

_NOT_XML = re.compile(
    "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)  # XML 1.0, section 2.2


def junit_text(verdict: Verdict) -> str:
    """Return the JUnit XML of the verdict."""
    root = ElementTree.Element(
        "testsuites", _counts(verdict.checks), name=_clean(f"quarl gate: {verdict.policy}")
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
        name=_clean(check.name),
        classname=_clean(f"quarl.{policy}.{check.group.replace(' ', '_')}"),
        time="0",
    )
    found = f"found {found_text(check)}, allowed {limit_text(check)} ({check.kind})"
    if check.passed is False:
        failure = ElementTree.SubElement(
            case,
            "failure",
            message=_clean(f"{check.name}: {found}"),
            type=check.group.replace(" ", "_"),
        )
        failure.text = _clean(f"{check.detail}\n{check.advice}")
        return
    if check.passed is None:
        ElementTree.SubElement(
            case, "skipped", message=_clean(f"reported, not judged: {check.detail}")
        )
    output = ElementTree.SubElement(case, "system-out")
    output.text = _clean(f"{found}\n{check.detail}")


def _counts(checks: tuple[Check, ...]) -> dict[str, str]:
    failures = sum(check.passed is False for check in checks)
    return {"tests": str(len(checks)), "failures": str(failures), "errors": "0", "time": "0"}


def _clean(text: str) -> str:
    """Return the text without the characters that XML 1.0 cannot hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
