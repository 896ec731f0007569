"""Every verdict is said in three lines, and each output opens with them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quarl.cli.show_verdict import verdict_text
from quarl.evidence.evidence import BackendEquality, Evidence
from quarl.verdict.formats.markdown import markdown_text
from quarl.verdict.formats.three_lines import three_lines
from quarl.verdict.judge import judge
from quarl.verdict.verdict import Outcome, Verdict
from tests.support.release import GOOD, LIMITS, pairs

WRONG = BackendEquality("litert", "2.3", 1000, 2000, 3, None)
PASSED = judge(GOOD, LIMITS, policy="p")


def said(evidence: Evidence) -> tuple[str, str, str]:
    return three_lines(judge(evidence, LIMITS, policy="p"))


def test_a_pass_rests_on_its_episodes() -> None:
    answer, basis, then = said(GOOD)
    assert answer == "PASS: p may be released"
    assert basis.startswith("mean return 499.9 -> 499.9 over 400 pairs, a loss of at most 0.0992 ")
    assert "where 9.6 is allowed; failures 0 -> 0, a rise of at most 0.751 points" in basis
    assert "baseline set" in then


def test_a_wrong_integer_is_what_a_failure_rests_on() -> None:
    answer, basis, then = said(replace(GOOD, backends=(WRONG, GOOD.backends[1])))
    assert answer == "FAIL: p must not be released"
    assert basis == "equality_litert: 3 outputs, at most 0 outputs"
    assert "export again" in then


def test_a_loss_is_said_with_what_was_allowed() -> None:
    _, basis, then = said(replace(GOOD, paired=pairs(candidate_loss=12)))
    assert "a loss of at most 12.1 where 9.6 is allowed" in basis
    assert then.startswith("The policy has lost return")


def test_what_was_not_measured_is_named_with_what_gathers_it() -> None:
    answer, basis, then = said(replace(GOOD, paired=None))
    assert answer == "NOT PROVEN: p must not be released"
    assert basis == "mean_return: no paired episodes were played"
    assert "quarl parity" in then


@pytest.mark.parametrize("can_play", [True, False])
def test_a_verdict_without_episodes_says_what_it_rests_on(can_play: bool) -> None:
    verdict = judge(replace(GOOD, paired=None), LIMITS, policy="p", can_play=can_play)
    assert ("decisions only" in three_lines(verdict).answer) is not can_play
    assert three_lines(Verdict("empty", ())).then.startswith("nothing was judged")


def test_the_terminal_folds_figures_without_a_limit_and_says_how_many() -> None:
    folded = [check for check in PASSED.checks if check.outcome is Outcome.REPORTED]
    short, long = verdict_text(PASSED), verdict_text(PASSED, verbose=True)
    assert folded
    assert f"{len(folded)} figures without a limit are shown by -v" in short
    for check in folded:
        assert check.name not in short
        assert check.name in long
    for text in (short, long):
        assert str(three_lines(PASSED)) in text


def test_markdown_opens_with_the_three_lines() -> None:
    head = markdown_text(PASSED).splitlines()[:4]
    assert head[0] == "## quarl gate: PASS: p may be released"
    assert head[2].startswith("- rests on: mean return 499.9")
    assert head[3].startswith("- next: release it")
