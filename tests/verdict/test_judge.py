"""The gate says no for the right reason, and never yes because something is missing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from quarl.bundle.limits import Limits, limits_from_table
from quarl.errors import InputError
from quarl.evidence.agreement import WorstDecision, compare_actions
from quarl.evidence.closed_loop import PairedEpisodes
from quarl.evidence.evidence import (
    BackendEquality,
    CalibratedOn,
    DisturbedEpisodes,
    Evidence,
    ExampleReplay,
    FirstDifference,
    ImportProof,
    OwnEpisodes,
    Trial,
    evidence_from_json,
)
from quarl.profiles.figure import Figure
from quarl.stats.sequential import Look, plan_looks
from quarl.verdict.judge import judge
from quarl.verdict.limits import read_gate_file
from quarl.verdict.regression import compare_with_baseline
from quarl.verdict.verdict import Check, Outcome, Verdict, outcome_of
from tests.support.release import COUNT, GOOD, LIMITS, episodes, pairs


def failed(evidence: Evidence, limits: Limits = LIMITS) -> dict[str, Check]:
    return {check.name: check for check in judge(evidence, limits, policy="cartpole_ppo").failed}


def unproven(evidence: Evidence, limits: Limits = LIMITS) -> dict[str, Check]:
    return {check.name: check for check in judge(evidence, limits, policy="cartpole_ppo").unproven}


def test_a_good_release_passes() -> None:
    verdict = judge(GOOD, LIMITS, policy="cartpole_ppo")
    assert verdict.answer is Outcome.PASS
    assert {check.name for check in verdict.checks} == {
        "import_error",
        "equality_litert",
        "equality_onnxruntime",
        "example_outputs",
        "files_unchanged",
        "files_consistent",
        "evidence_consistent",
        "calibration_episodes",
        "clipped_inputs",
        "action_agreement",
        "source_return",
        "mean_return",
        "failure_rate",
        "low_quantile",
        "equivalence",
        "rank_test",
        "interquartile_mean",
        "control",
        "budget_artifact_bytes",
        "budget_latency_p99_us",
    }


def test_no_evidence_at_all_proves_nothing() -> None:
    assert judge(Evidence(), LIMITS, policy="p").answer is Outcome.NOT_PROVEN
    assert set(unproven(Evidence())) == {
        "import_error",
        "equality_litert",
        "equality_onnxruntime",
        "example_outputs",
        "files_consistent",
        "evidence_consistent",
        "action_agreement",
        "mean_return",
        "budget_artifact_bytes",
        "budget_latency_p99_us",
    }


def test_a_verdict_without_checks_does_not_pass() -> None:
    assert Verdict("nothing", ()).answer is Outcome.NOT_PROVEN


@pytest.mark.parametrize(
    "evidence",
    [
        replace(GOOD, import_proof=None),
        replace(GOOD, example=None),
        replace(GOOD, agreement=None),
        replace(GOOD, paired=None),
    ],
)
def test_a_missing_part_is_not_proven_by_its_own_check(evidence: Evidence) -> None:
    assert not failed(evidence)
    checks = unproven(evidence)
    assert len(checks) == 1
    assert next(iter(checks.values())).found is None


def test_a_missing_backend_is_not_proven_by_its_own_check() -> None:
    assert set(unproven(replace(GOOD, backends=GOOD.backends[:1]))) == {"equality_onnxruntime"}


def test_a_backend_that_compared_nothing_proves_nothing() -> None:
    empty = BackendEquality("litert", "1.0", 0, 0, 0, None)
    assert set(unproven(replace(GOOD, backends=(empty, GOOD.backends[1])))) == {"equality_litert"}


def test_one_differing_output_fails_and_its_place_is_named() -> None:
    differing = BackendEquality("litert", "2.3", 1000, 2000, 1, FirstDifference(17, 1, -3, -2))
    check = failed(replace(GOOD, backends=(differing, GOOD.backends[1])))["equality_litert"]
    assert check.found == 1
    assert "first at observation 17, output 1: -2, the reference says -3" in check.detail


@pytest.mark.parametrize(("error", "passed"), [(1e-5, True), (1.1e-5, False)])
def test_the_import_error_is_judged_at_its_limit(error: float, passed: bool) -> None:
    evidence = replace(GOOD, import_proof=ImportProof("keras 3", 10, error))
    assert judge(evidence, LIMITS, policy="p").answer is outcome_of(passed)


def test_an_import_without_proof_is_reported_and_not_proven_where_proof_is_required() -> None:
    evidence = replace(GOOD, import_proof=ImportProof("torch", 0, None, "torch is not installed"))
    verdict = judge(evidence, LIMITS, policy="p")
    check = next(check for check in verdict.checks if check.name == "import_error")
    assert (verdict.answer, check.outcome) == (Outcome.PASS, Outcome.REPORTED)
    assert "torch is not installed" in check.detail
    assert set(unproven(evidence, replace(LIMITS, require_import_proof=True))) == {"import_error"}


def test_a_changed_file_and_a_changed_output_are_two_findings() -> None:
    evidence = replace(
        GOOD,
        example=ExampleReplay(
            256, 3, 1, ("model.tflite: SHA-256 is 00..., the manifest says 11...",)
        ),
    )
    checks = failed(evidence)
    assert set(checks) == {"example_outputs", "files_unchanged"}
    assert "model.tflite" in checks["files_unchanged"].detail


def test_too_little_agreement_fails() -> None:
    assert set(failed(GOOD, replace(LIMITS, min_agreement=0.98))) == {"action_agreement"}
    assert not failed(GOOD, replace(LIMITS, min_agreement=0.97))


@pytest.mark.parametrize(
    ("limit", "names"), [(0.06, set()), (0.05, set()), (0.04, {"action_error"})]
)
def test_box_actions_are_judged_by_their_error_as_a_share_of_the_range(
    limit: float, names: set[str]
) -> None:
    agreement = compare_actions(np.zeros((4, 1)), np.full((4, 1), 0.1), (-1.0,), (1.0,))
    limits = replace(LIMITS, min_agreement=None, max_action_error=limit)
    assert set(failed(replace(GOOD, agreement=agreement), limits)) == names


def test_a_limit_of_the_wrong_kind_of_action_is_not_passed_over() -> None:
    box = compare_actions(np.zeros((4, 1)), np.zeros((4, 1)), (-1.0,), (1.0,))
    assert set(unproven(replace(GOOD, agreement=box))) == {"action_agreement"}
    assert set(unproven(GOOD, replace(LIMITS, max_action_error=0.1))) == {"action_error"}


def test_an_error_without_a_range_cannot_keep_a_limit() -> None:
    box = compare_actions(np.zeros((4, 1)), np.zeros((4, 1)), (-np.inf,), (np.inf,))
    assert set(
        unproven(
            replace(GOOD, agreement=box), replace(LIMITS, min_agreement=None, max_action_error=0.1)
        )
    ) == {"action_error"}


def test_a_lost_return_fails_the_mean() -> None:
    check = failed(replace(GOOD, paired=pairs(candidate_loss=12)))["mean_return"]
    assert check.allowed == pytest.approx(0.02 * 480, rel=0.01)
    assert check.found is not None
    assert check.found > 12
    assert "The policy has lost return" in check.advice


def noisy(loss: float, spread: float = 60, count: int = 20) -> PairedEpisodes:
    """Return few episodes whose returns move alike for source and int8, but not together."""
    rng = np.random.default_rng(7)
    first, second = (rng.normal(0, spread, count) for _ in range(2))
    source = episodes(500 + first - first.mean())
    return PairedEpisodes(
        "CartPole-v1", source, episodes(500 - loss + second - second.mean()), source
    )


def test_a_loss_that_few_episodes_cannot_rule_out_asks_for_more() -> None:
    paired = noisy(1.0)
    limits = replace(LIMITS, failure_return=0.0, failure_margin=0.5)
    check = unproven(replace(GOOD, paired=paired), limits)["mean_return"]
    assert "within the margin, but too few episodes prove it: an equal policy" in check.advice
    assert judge(replace(GOOD, paired=paired), limits, policy="p").answer is Outcome.NOT_PROVEN


def test_a_gain_that_is_not_proven_is_never_called_a_loss() -> None:
    rising = replace(GOOD, paired=noisy(-1.0))
    limits = replace(LIMITS, failure_return=0.0, failure_margin=0.5)
    verdict = judge(rising, limits, policy="p")
    assert verdict.answer is Outcome.NOT_PROVEN
    said = " ".join(f"{check.detail} {check.advice}" for check in verdict.unproven)
    assert "lost" not in said.replace("with losses too rare", "")


def test_a_loss_beyond_the_margin_that_may_be_chance_is_not_shown() -> None:
    paired = noisy(20)
    limits = replace(LIMITS, failure_return=0.0, failure_margin=0.5)
    check = unproven(replace(GOOD, paired=paired), limits)["mean_return"]
    assert "could be chance" in check.advice


def test_a_warning_lets_pass_what_was_measured_and_not_what_was_not() -> None:
    paired = noisy(1.0)
    limits = replace(LIMITS, failure_return=0.0, failure_margin=0.5, not_proven="warn")
    measured = judge(replace(GOOD, paired=paired), limits, policy="p")
    assert (measured.answer, measured.may_ship) == (Outcome.NOT_PROVEN, True)
    assert not judge(replace(GOOD, paired=None), limits, policy="p").may_ship
    assert not judge(Evidence(), limits, policy="p").may_ship
    assert not Verdict("nothing", (), not_proven="warn").may_ship
    assert not judge(replace(GOOD, paired=pairs(candidate_loss=12)), limits, policy="p").may_ship


def test_failed_episodes_are_found_where_the_mean_hides_them() -> None:
    paired = pairs()
    returns = paired.candidate.returns.copy()
    returns[::40] = 400  # 2.5 % of the episodes fail, the mean loses 2.5 of 9.6
    checks = failed(replace(GOOD, paired=replace(paired, candidate=episodes(returns))))
    assert set(checks) == {"failure_rate"}
    assert "0 -> 10 of 400" in checks["failure_rate"].detail


def test_a_worse_tail_fails_the_low_quantile() -> None:
    paired = pairs()
    returns = paired.candidate.returns.copy()
    returns[::7] -= 20
    limits = replace(LIMITS, failure_return=0.0)
    assert set(
        failed(replace(GOOD, paired=replace(paired, candidate=episodes(returns))), limits)
    ) == {"low_quantile"}


@pytest.mark.parametrize(("episodes", "passed"), [(0, None), (1, False), (7, False), (8, True)])
def test_ranges_from_too_few_episodes_fail_and_from_an_unknown_number_are_reported(
    episodes: int, passed: bool | None
) -> None:
    verdict = judge(replace(GOOD, calibration=CalibratedOn(2000, episodes)), LIMITS, policy="p")
    check = next(check for check in verdict.checks if check.name == "calibration_episodes")
    assert check.outcome is outcome_of(passed)
    assert verdict.answer is outcome_of(passed is not False)


@pytest.mark.parametrize(("known", "passed"), [(495.0, True), (509.0, True), (511.0, False)])
def test_a_source_that_certainly_plays_worse_than_it_is_known_to_fails(
    known: float, passed: bool
) -> None:
    checks = failed(
        GOOD, replace(LIMITS, source_return=known)
    )  # it reaches 500 +- 2; the margin is 9.6
    assert ("source_return" not in checks) is passed
    if not passed:
        assert "normaliser" in checks["source_return"].advice


def test_episodes_that_stopped_early_are_judged_at_what_their_look_may_spend() -> None:
    looks = plan_looks(2 * COUNT, 0.02, 0.02, 0.05)
    verdict = judge(
        replace(GOOD, paired=replace(pairs(), looks=looks)),
        replace(LIMITS, failure_margin=0.02),
        policy="p",
    )
    loop = verdict.closed_loop
    assert loop is not None
    assert (loop.look, loop.looks, loop.planned_episodes) == (3, 4, 2 * COUNT)
    assert loop.alpha == pytest.approx(0.05 / 4, rel=1e-3)
    assert loop.mean.unseen_lower is not None
    assert "look 3 of 4" in next(
        check.detail for check in verdict.checks if check.name == "mean_return"
    )
    assert judge(GOOD, LIMITS, policy="p").closed_loop.alpha == 0.05  # type: ignore[union-attr]


def test_episodes_that_are_none_of_the_planned_looks_are_no_evidence() -> None:
    with pytest.raises(InputError, match="none of the looks"):
        replace(pairs(), looks=(Look(COUNT + 1, 1.0),))


def test_what_an_early_stop_left_open_is_reported_and_what_stopped_it_fails() -> None:
    looks = plan_looks(2 * COUNT, 0.02, 0.01, 0.05)
    rng = np.random.default_rng(0)
    noisy = pairs()
    lost = np.where(np.arange(COUNT) < 40, 0.0, noisy.source.returns + rng.normal(40, 40, COUNT))
    checks = {
        c.name: c
        for c in judge(
            replace(GOOD, paired=replace(noisy, candidate=episodes(lost), looks=looks)),
            LIMITS,
            policy="p",
        ).checks
    }
    assert checks["failure_rate"].outcome is Outcome.FAIL
    assert checks["mean_return"].outcome is Outcome.REPORTED
    assert "left open" in checks["mean_return"].detail


@pytest.mark.long
def test_a_gain_beyond_the_margin_fails_where_equivalence_is_asked_for() -> None:
    better = replace(GOOD, paired=pairs(candidate_loss=-12))
    assert not failed(better)
    assert set(failed(better, replace(LIMITS, equivalence=True))) == {"equivalence"}
    assert not failed(GOOD, replace(LIMITS, equivalence=True))


def disturbed(loss: float) -> tuple[DisturbedEpisodes, ...]:
    source = np.random.default_rng(0).normal(450, 2, 100)
    return (DisturbedEpisodes("noise", episodes(source), episodes(source - loss)),)


@pytest.mark.long
def test_int8_may_not_lose_more_than_its_source_under_a_disturbance() -> None:
    limits = replace(LIMITS, robustness_margin=0.04)
    assert not failed(replace(GOOD, robustness=disturbed(10)), limits)
    check = failed(replace(GOOD, robustness=disturbed(30)), limits)["robust_noise"]
    assert check.allowed == pytest.approx(0.04 * 480, rel=0.01)
    assert "they lose" in check.detail
    reported = judge(replace(GOOD, robustness=disturbed(30)), LIMITS, policy="p")
    check = next(check for check in reported.checks if check.name == "robust_noise")
    assert check.outcome is Outcome.REPORTED
    assert set(unproven(GOOD, limits)) == {"robustness"}


def test_a_budget_that_is_broken_says_by_how_much() -> None:
    check = failed(GOOD, replace(LIMITS, budgets={"artifact_bytes": 12_000 - 1024}))[
        "budget_artifact_bytes"
    ]
    assert check.margin == -1024
    assert check.detail == "12,000 B exact of 10,976 B: 1,024 B over the limit"


def judged_figure(*figure: object) -> Verdict:
    """Return the verdict on a good release with this figure alone, and no budget for it."""
    return judge(replace(GOOD, figures=(Figure(*figure),)), replace(LIMITS, budgets={}), policy="p")  # type: ignore[arg-type]


def test_figures_of_another_machine_are_not_compared_with_the_baseline() -> None:
    then, now = (
        judged_figure("p99_us", 9, "us", "measured", 0.0, "a"),
        judged_figure("p99_us", 90, "us", "measured", 0.0, "b"),
    )
    check = compare_with_baseline(now, then.checks)[-1]
    assert (check.name, check.outcome) == ("regression_budget_p99_us", Outcome.REPORTED)


@pytest.mark.parametrize(("noise", "passed"), [(0.0, False), (0.05, False), (0.1, True)])
def test_a_measured_figure_may_be_worse_by_three_times_its_own_noise(
    noise: float, passed: bool
) -> None:
    then, now = (judged_figure("p99_us", value, "us", "measured", noise) for value in (10, 12.5))
    assert compare_with_baseline(now, then.checks)[-1].outcome is outcome_of(passed)


def test_one_emulated_instruction_more_is_a_regression() -> None:
    then, now = (
        judged_figure("firmware_instructions", value, "", "emulated") for value in (14_249, 14_250)
    )
    worse = [c for c in compare_with_baseline(now, then.checks) if c.outcome is Outcome.FAIL]
    assert [c.name for c in worse] == ["regression_budget_firmware_instructions"]
    assert "14,250 now, 14,249 in the baseline: 0.01% worse" in worse[0].detail


def test_success_is_judged_where_the_environment_reports_it() -> None:
    paired = pairs()
    reached = np.ones(COUNT, np.bool_)
    crashed = np.arange(COUNT) % 20 != 0
    success = replace(LIMITS, failure="success")
    good, bad = (
        PairedEpisodes(
            "quarl/PointToPoint-v0",
            replace(paired.source, successes=reached),
            replace(paired.candidate, successes=flags),
            replace(paired.control, successes=reached),
        )
        for flags in (reached, crashed)
    )
    assert not failed(replace(GOOD, paired=good), success)
    assert set(failed(replace(GOOD, paired=bad), success)) == {"failure_rate"}
    unknown = unproven(GOOD, success)["failure_rate"]
    assert "reports no success" in unknown.detail


def test_chaos_is_named_when_the_control_moves_too_and_no_loss_is_laid_on_int8() -> None:
    verdict = judge(
        replace(GOOD, paired=pairs(candidate_loss=12, control_loss=11)), LIMITS, policy="p"
    )
    checks = {check.name: check for check in verdict.checks}
    advice = checks["mean_return"].advice
    assert checks["mean_return"].outcome is Outcome.NOT_PROVEN
    assert advice.startswith("Chaos: a float64 copy of the source moves the mean by -11")
    assert "cannot be laid on int8" in advice
    assert "lost" not in advice
    assert checks["control"].outcome is Outcome.REPORTED
    assert "chaotic" in checks["control"].detail
    assert verdict.closed_loop is not None
    assert verdict.closed_loop.is_chaotic


def test_a_margin_needs_to_know_random_play() -> None:
    assert (
        "random_return" in unproven(GOOD, replace(LIMITS, random_return=None))["mean_return"].advice
    )


def test_a_source_no_better_than_random_play_has_nothing_to_keep() -> None:
    assert (
        "no better than random play"
        in unproven(GOOD, replace(LIMITS, random_return=600.0))["mean_return"].detail
    )


def test_a_source_above_random_play_by_chance_alone_has_nothing_to_keep_either() -> None:
    by_chance = replace(LIMITS, random_return=499.8)
    detail = unproven(GOOD, by_chance)["mean_return"].detail
    assert "over 400 episodes, +- 1.993 each" in detail
    assert "cannot be told from random play (499.8)" in detail


def test_without_a_bound_failure_begins_halfway_to_random_play() -> None:
    verdict = judge(GOOD, replace(LIMITS, failure_return=None), policy="p")
    assert verdict.closed_loop is not None
    assert verdict.closed_loop.failure.below == pytest.approx(260, abs=1)


@pytest.mark.parametrize(("limit", "passed"), [(12_001, True), (12_000, True), (11_999, False)])
def test_a_budget_is_judged_at_its_limit(limit: float, passed: bool) -> None:
    verdict = judge(GOOD, replace(LIMITS, budgets={"artifact_bytes": limit}), policy="p")
    assert verdict.answer is outcome_of(passed)


def test_a_budget_for_a_figure_nobody_measured_is_not_proven() -> None:
    check = unproven(GOOD, replace(LIMITS, budgets={"flash_bytes": 1e6}))["budget_flash_bytes"]
    assert "it has: artifact_bytes, latency_p99_us" in check.detail


def test_pairs_must_share_their_seeds() -> None:
    other = replace(episodes(np.zeros(COUNT)), seeds=tuple(range(1, COUNT + 1)))
    with pytest.raises(InputError, match="did not play the same seeds"):
        replace(pairs(), candidate=other)


def test_an_untouched_release_is_no_regression() -> None:
    verdict = judge(GOOD, LIMITS, policy="p")
    checks = compare_with_baseline(verdict, verdict.checks)
    assert checks
    assert {check.outcome for check in checks} == {Outcome.PASS}


@pytest.mark.parametrize(
    ("figures", "names"),
    [
        (
            (
                Figure("artifact_bytes", 12_001, "B", "exact"),
                Figure("latency_p99_us", 9.5, "us", "measured"),
            ),
            {"regression_budget_artifact_bytes"},
        ),
        (
            (
                Figure("artifact_bytes", 12_000, "B", "exact"),
                Figure("latency_p99_us", 10.4, "us", "measured"),
            ),
            set(),
        ),
        (
            (
                Figure("artifact_bytes", 12_000, "B", "exact"),
                Figure("latency_p99_us", 10.5, "us", "measured"),
            ),
            {"regression_budget_latency_p99_us"},
        ),
    ],
)
def test_exact_figures_may_not_grow_and_measured_ones_only_by_their_noise(
    figures: tuple[Figure, ...], names: set[str]
) -> None:
    baseline = judge(GOOD, LIMITS, policy="p").checks
    now = judge(replace(GOOD, figures=figures), LIMITS, policy="p")
    assert {
        check.name
        for check in compare_with_baseline(now, baseline)
        if check.outcome is not Outcome.PASS
    } == names


@pytest.mark.long
def test_a_check_that_is_gone_or_fails_now_is_a_regression() -> None:
    baseline = judge(GOOD, LIMITS, policy="p").checks
    gone = compare_with_baseline(
        judge(replace(GOOD, figures=()), replace(LIMITS, budgets={}), policy="p"), baseline
    )
    assert {check.name for check in gone if check.outcome is not Outcome.PASS} == {
        "regression_budget_artifact_bytes",
        "regression_budget_latency_p99_us",
    }
    worse = compare_with_baseline(
        judge(replace(GOOD, paired=pairs(candidate_loss=12)), LIMITS, policy="p"), baseline
    )
    assert "regression_mean_return" in {
        check.name for check in worse if check.outcome is not Outcome.PASS
    }


BOX_AGREEMENT = compare_actions(np.zeros((4, 1)), np.full((4, 1), 0.1), (-1.0,), (1.0,))
SOURCELESS = replace(
    GOOD,
    agreement=None,
    paired=None,
    has_source=False,
    own=OwnEpisodes("CartPole-v1", episodes(np.array([500.0, 480.0]))),
)


def test_a_policy_without_a_source_is_judged_by_all_but_the_comparison_with_it() -> None:
    limits = replace(LIMITS, min_agreement=None, without_source=True)
    verdict = judge(SOURCELESS, limits, policy="p")
    checks = {check.name: check for check in verdict.checks}
    assert verdict.answer is Outcome.PASS
    assert checks["source_comparison"].outcome is Outcome.REPORTED
    assert "no full-precision source" in checks["source_comparison"].detail
    assert checks["int8_return"].outcome is Outcome.REPORTED
    assert checks["int8_return"].found == 490
    differing = BackendEquality("litert", "1.0", 1000, 2000, 1, None)
    changed = replace(SOURCELESS, backends=(differing,))
    assert judge(changed, limits, policy="p").answer is Outcome.FAIL


def test_a_policy_without_a_source_is_not_proven_unless_the_limits_allow_it() -> None:
    standing = judge(SOURCELESS, replace(LIMITS, min_agreement=None), policy="p").unproven
    assert [check.name for check in standing] == ["source_comparison"]
    assert "without_source = true" in standing[0].advice


@pytest.mark.parametrize(
    ("key", "name"), [("min_agreement", "action_agreement"), ("max_action_error", "action_error")]
)
def test_a_limit_that_asks_for_a_comparison_is_not_proven_where_there_is_no_source(
    key: str, name: str
) -> None:
    limits = replace(
        LIMITS,
        without_source=True,
        **{"min_agreement": None, "max_action_error": None, key: 0.5},
    )
    standing = judge(SOURCELESS, limits, policy="p").unproven
    assert [(check.name, check.advice) for check in standing] == [
        (name, f"Remove {key} from [gate]")
    ]


def test_a_policy_without_a_source_falls_behind_a_baseline_that_was_compared_with_one() -> None:
    limits = replace(LIMITS, min_agreement=None)
    baseline = judge(GOOD, limits, policy="p").checks
    fallen = {
        check.name
        for check in compare_with_baseline(judge(SOURCELESS, limits, policy="p"), baseline)
        if check.outcome is not Outcome.PASS
    }
    assert fallen == {
        f"regression_{name}"
        for name in ("source_return", "mean_return", "failure_rate", "low_quantile")
    }


@pytest.mark.long
def test_evidence_survives_its_file() -> None:
    box = compare_actions(np.zeros((4, 2)), np.full((4, 2), 0.1), (-1.0, -1.0), (1.0, 1.0))
    differing = BackendEquality("litert", "2.3", 10, 20, 1, FirstDifference(1, 2, 3, 4))
    sequential = replace(
        pairs(), looks=(Look(COUNT, 1.0),), divergence=np.arange(COUNT, dtype=np.int32) - 1
    )
    why = replace(
        GOOD,
        paired=sequential,
        robustness=disturbed(1.0),
        worst=(WorstDecision(3, (0.0,), (1.0,), 0.5),),
        trials=(Trial("rung 4 (wide input)", 4, 100, "of the actions changed", 0.2, 0.1, 64),),
    )
    for evidence in (
        GOOD,
        SOURCELESS,
        Evidence(),
        why,
        replace(GOOD, agreement=box, backends=(differing,)),
    ):
        text = evidence.to_json()
        again = replace(evidence_from_json(text), consistency=evidence.consistency)
        assert json.loads(again.to_json()) == json.loads(text)
        assert judge(again, LIMITS, policy="p") == judge(evidence, LIMITS, policy="p")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 1}',
        '{"format": 2}',
        GOOD.to_json().replace('"lengths": [', '"lengths": [7,'),
    ],
)
def test_a_file_that_is_no_evidence_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="run quarl parity again"):
        evidence_from_json(text)


def test_limits_survive_a_table() -> None:
    assert limits_from_table(LIMITS.to_table(), "manifest.json") == LIMITS


def test_every_problem_of_a_limits_file_is_reported_at_once() -> None:
    text = (
        '[gate]\nmargn = 0.1\nmargin = 0\nepisodes = 1.5\nfailure = "luck"\nbackends = '
        '[]\nalpha = true\nbudgets = { a = "b" }\n'
    )
    with pytest.raises(InputError) as caught:
        read_gate_file(text, "gate.toml")
    message = str(caught.value)
    assert message.startswith("gate.toml: [gate]: 7 problems:")
    assert all(
        key in message
        for key in (
            "margn: unknown key",
            "margin: 0",
            "episodes",
            "failure",
            "backends",
            "alpha",
            "budgets",
        )
    )


@pytest.mark.parametrize("text", ["gate = 3", "[gates]", "[gate]\n[other]", "not toml ["])
def test_a_file_without_limits_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"gate\.toml"):
        read_gate_file(text, "gate.toml")
