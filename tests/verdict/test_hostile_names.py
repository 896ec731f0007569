"""Hostile text in every field of a verdict, in every output: nothing but text comes out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarl.cli.show_verdict import verdict_text
from quarl.errors import InputError
from quarl.files.text import terminal_text
from quarl.verdict.formats import OUTPUTS
from quarl.verdict.verdict import Check, Outcome, Reason, Verdict
from tests.files.test_text import CONTROLS, anything


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    names = ["equality_litert", "budget_x", "mean_return"][: draw(st.integers(1, 3))]
    checks = tuple(
        Check(
            name, "equality", draw(st.sampled_from(Outcome)), 1.0, 0.0, "at most",
            draw(anything), "exact", draw(anything), draw(anything), where=draw(anything),
        )
        for name in names
    )  # fmt: skip
    return Verdict(draw(anything), checks, why=(Reason("layer", draw(anything)),))


@given(verdicts())
def test_every_output_is_well_formed_and_gives_no_orders(verdict: Verdict) -> None:
    for name in ("json", "sarif"):
        text = OUTPUTS[name](verdict)
        json.loads(text)
        assert text.isascii()
    ElementTree.fromstring(OUTPUTS["junit"](verdict))
    for text in (OUTPUTS["junit"](verdict), OUTPUTS["markdown"](verdict)):
        assert not set(text) & set(CONTROLS)
        text.encode()
    markdown = OUTPUTS["markdown"](verdict)
    assert markdown.count("\n| ") == 1 + len(verdict.checks)
    assert markdown.count("\n## ") + markdown.startswith("## ") == 1
    assert "<" not in markdown.replace("&lt;", "")
    shown = terminal_text(verdict_text(verdict))
    assert not set(shown) & set(CONTROLS)
    assert not any(line.lstrip().startswith("::") for line in shown.split("\n"))


@given(verdicts())
def test_the_texts_of_sarif_have_no_controls(verdict: Verdict) -> None:
    failed = replace(
        verdict, checks=tuple(replace(c, outcome=Outcome.FAIL) for c in verdict.checks)
    )
    for result in json.loads(OUTPUTS["sarif"](failed))["runs"][0]["results"]:
        assert not set(result["message"]["text"]) & set(CONTROLS)


@given(anything.filter(lambda name: not re.fullmatch("[a-z0-9_]+", name)))
def test_a_check_takes_no_hostile_name(name: str) -> None:
    with pytest.raises(InputError, match="names have lower case letters"):
        Check(name, "budget", Outcome.PASS, 1.0, 2.0, "at most", "", "exact", "")
