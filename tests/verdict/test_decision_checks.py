"""Without an environment single decisions are judged, by limits that have defaults, and the verdict
says so.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarl import pipeline
from quarl.bundle.limits import Limits
from quarl.evidence.agreement import (
    BoxAgreement,
    DiscreteAgreement,
    WorstDecision,
    compare_actions,
)
from quarl.evidence.evidence import Evidence
from quarl.exporter.export import ExportRequest
from quarl.rollouts.clipping import ClippedInputs
from quarl.verdict.decision_checks import LEAST_DECISIONS
from quarl.verdict.formats.wording import headline
from quarl.verdict.judge import judge
from quarl.verdict.verdict import Outcome, Verdict
from tests.support.release import AGREEMENT, GOOD, LIMITS

NO_LIMITS = replace(LIMITS, min_agreement=None)


def decided(
    agreement: DiscreteAgreement | BoxAgreement | None, limits: Limits = NO_LIMITS
) -> Verdict:
    evidence = replace(GOOD, agreement=agreement, paired=None)
    return judge(evidence, limits, policy="p", can_play=False)


def box(error: float, worst: float = 0.0, count: int = 500, bound: float = 1.0) -> BoxAgreement:
    candidate = np.full((count, 1), error)
    candidate[0] += worst
    return compare_actions(np.zeros((count, 1)), candidate, (-bound,), (bound,))


def outcomes(verdict: Verdict) -> dict[str, Outcome]:
    return {check.name: check.outcome for check in verdict.checks if check.group == "agreement"}


@pytest.mark.parametrize(
    ("kept", "answer"), [(0.98, Outcome.PASS), (0.979, Outcome.FAIL), (1.0, Outcome.PASS)]
)
def test_choices_are_judged_by_what_is_at_stake(kept: float, answer: Outcome) -> None:
    verdict = decided(replace(AGREEMENT, agreement=0.6, weighted_agreement=kept))
    assert (verdict.answer, verdict.decisions_only) == (answer, True)
    assert outcomes(verdict)["weighted_agreement"] is answer
    assert outcomes(verdict)["action_agreement"] is Outcome.REPORTED
    assert "mean_return" not in {check.name for check in verdict.checks}


@pytest.mark.parametrize(
    ("agreement", "failing"),
    [
        (box(0.019), set()),
        (box(0.021), {"action_error"}),
        (box(0.001, worst=0.25), {"worst_action_error"}),
    ],
)
def test_boxes_are_judged_by_their_mean_and_their_worst_error(
    agreement: BoxAgreement, failing: set[str]
) -> None:
    assert {check.name for check in decided(agreement).failed} == failing


def test_limits_of_the_user_replace_the_defaults() -> None:
    strict = replace(NO_LIMITS, max_action_error=0.001, max_worst_action_error=0.5)
    assert {check.name for check in decided(box(0.01), strict).failed} == {"action_error"}
    loose = replace(NO_LIMITS, min_weighted_agreement=0.5)
    assert decided(replace(AGREEMENT, weighted_agreement=0.6), loose).answer is Outcome.PASS


def test_an_infinite_range_and_too_few_decisions_prove_nothing() -> None:
    unbounded = decided(box(0.0, bound=np.inf))  # the source never moves, so there is no range
    assert unbounded.answer is Outcome.NOT_PROVEN
    assert {check.name for check in unbounded.unproven} == {"action_error", "worst_action_error"}
    few = decided(replace(AGREEMENT, observations=LEAST_DECISIONS - 1))
    assert {check.name for check in few.unproven} == {"decisions"}
    assert "--calibration" in few.unproven[0].advice


@pytest.mark.parametrize(("error", "answer"), [(0.01, Outcome.PASS), (0.03, Outcome.FAIL)])
def test_without_bounds_an_error_is_a_share_of_what_the_source_spans(
    error: float, answer: Outcome
) -> None:
    actions = np.linspace(-1, 1, 500)[:, None]
    agreement = compare_actions(actions, actions + error, (-np.inf,), (np.inf,))
    verdict = decided(agreement)
    assert verdict.answer is answer
    check = next(check for check in verdict.checks if check.name == "action_error")
    assert check.found == pytest.approx(error / 2)
    assert "what the source's own actions span" in check.detail


@pytest.mark.parametrize(("outside", "answer"), [(100, Outcome.PASS), (101, Outcome.FAIL)])
def test_ranges_that_do_not_cover_what_was_held_out_fail(outside: int, answer: Outcome) -> None:
    clipped = ClippedInputs(10_000, outside, "tilt", 0.1)
    evidence = replace(GOOD, agreement=AGREEMENT, paired=None, clipped=clipped)
    verdict = judge(evidence, NO_LIMITS, policy="p", can_play=False)
    check = next(check for check in verdict.checks if check.name == "clipped_inputs")
    assert (verdict.answer, check.outcome) == (answer, answer)
    assert "values held out lie outside" in check.detail


def test_the_worst_decision_is_shown_with_what_it_has_at_stake() -> None:
    worst = (WorstDecision(17, (1.0,), (0.0,), 0.25), WorstDecision(3, (1.0,), (0.0,), 0.1))
    verdict = judge(replace(GOOD, paired=None, worst=worst), NO_LIMITS, policy="p", can_play=False)
    check = next(check for check in verdict.checks if check.name == "worst_decision")
    assert (check.outcome, check.found) == (Outcome.REPORTED, 0.25)
    assert "at observation 17" in check.detail


def test_decisions_that_were_not_compared_prove_nothing() -> None:
    assert decided(None).answer is Outcome.NOT_PROVEN
    assert judge(Evidence(), LIMITS, policy="p", can_play=False).answer is Outcome.NOT_PROVEN


def test_episodes_that_were_played_are_judged_and_a_bundle_that_can_play_must_play() -> None:
    played = judge(GOOD, LIMITS, policy="p", can_play=False)
    assert (played.answer, played.decisions_only) == (Outcome.PASS, False)
    stripped = judge(replace(GOOD, paired=None), LIMITS, policy="p")
    assert (stripped.answer, stripped.decisions_only) == (Outcome.NOT_PROVEN, False)


@pytest.mark.long
def test_a_policy_without_an_environment_passes_or_fails_by_its_decisions(tmp_path: Path) -> None:
    source = replace(pipeline.import_source("cartpole_ppo"), env=None, recipe=None)
    for rung, weighted, answer in ((5, None, Outcome.PASS), (0, 0.99, Outcome.FAIL)):
        request = ExportRequest(rung=rung, limits=Limits(min_weighted_agreement=weighted))
        release = pipeline.export(source, tmp_path / str(rung), request)
        pipeline.parity(release)
        verdict = pipeline.gate(release)
        assert verdict.answer is answer
        assert "(decisions only)" in headline(verdict)
