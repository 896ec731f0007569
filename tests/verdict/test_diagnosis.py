"""The reasons name the layer, the part and the change that was measured to help, and nothing that
was not measured.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quarl.evidence.agreement import WorstDecision, worst_decisions
from quarl.evidence.closed_loop import Divergence
from quarl.evidence.evidence import Trial
from quarl.evidence.trials import RECALIBRATED, try_changes
from quarl.graph.contract import Action
from quarl.quantize.calibration import calibrate
from quarl.quantize.error_report import LayerReport, PartReport, QuantReport
from quarl.quantize.ladder import quantize_on_rung
from quarl.verdict.diagnosis import reasons
from quarl.verdict.judge import judge
from tests.support.release import AGREEMENT, GOOD, LIMITS
from tests.support.small_policies import cnn, mlp, observations, pixels

LAYERS = (
    LayerReport("first", "dense", 8, -1.0, 1.0, -1.0, 3.0, 0.2, 20.0),
    LayerReport("second", "dense", 8, -1.0, 1.0, -1.0, 1.0, 0.0, 12.0),
    LayerReport("third", "dense", 8, -1.0, 1.0, -5.0, 5.0, 0.3, 30.0),
    LayerReport("tanh", "table", 8, -1.0, 1.0, -1.0, 1.0, 0.0, None),
)
PARTS = (
    PartReport("input", 0.01, 0.1),
    PartReport("weights", 0.03, 0.2),
    PartReport("activations", 0.02, 0.3),
    PartReport("all", 0.05, 0.4),
)
REPORT = QuantReport(100, LAYERS, PARTS)


def texts(**changes: object) -> dict[str, str]:
    evidence = replace(GOOD, **changes)  # type: ignore[arg-type]
    return {reason.topic: reason.text for reason in reasons(evidence, None, REPORT)}


def test_the_layer_with_the_least_signal_and_the_part_with_the_largest_error_are_named() -> None:
    found = texts()
    assert "second" in found["layer"]
    assert "12.0 dB" in found["layer"]
    assert (
        found["part"].index("weights")
        < found["part"].index("activations")
        < found["part"].index("input")
    )


def test_a_layer_that_clips_is_named_unless_a_table_follows_that_is_flat_there() -> None:
    saturated = [
        reason.text for reason in reasons(GOOD, None, REPORT) if reason.topic == "saturation"
    ]
    assert len(saturated) == 1
    assert saturated[0].startswith("layer first clips 20.00%")


def test_ties_are_named_where_int8_has_more_of_them_than_its_source() -> None:
    assert "ties" not in texts()
    assert "12.00%" in texts(agreement=replace(AGREEMENT, candidate_tie_rate=0.12))["ties"]


def test_a_change_that_was_measured_to_help_comes_first_and_others_are_not_advised() -> None:
    helps = Trial("rung 4 (wide input)", 4, 100, "of the actions changed", 0.2, 0.05, 128)
    useless = replace(helps, change=RECALIBRATED, after=0.19)
    first = reasons(replace(GOOD, trials=(useless, helps)), None, REPORT)[0]
    assert first.helps
    assert "rung 4 (wide input): 20.00 % of the actions changed -> 5.00 %" in first.text
    better = replace(helps, change="rung 5 (wide activations)", after=0.01)
    both = [
        reason.text
        for reason in reasons(replace(GOOD, trials=(useless, helps, better)), None, None)
    ]
    assert ["rung 4" in both[0], "rung 5" in both[1], len(both)] == [True, True, 2]
    none = reasons(replace(GOOD, trials=(useless,)), None, None)
    assert [(reason.topic, reason.helps) for reason in none] == [("trial", False)]


def test_the_first_parting_and_what_it_cost_are_told() -> None:
    loop = judge(GOOD, LIMITS, policy="p").closed_loop
    assert loop is not None
    parted = replace(loop, divergence=Divergence(12, 3, 41.0, 9, 2))
    text = next(
        reason.text for reason in reasons(GOOD, parted, None) if reason.topic == "divergence"
    )
    assert (
        "in 12 of 400 episodes, first at step 3, on median at step 41; 9 of these lose "
        "return, 2 gain" in text
    )


def test_nothing_is_said_where_nothing_was_gathered() -> None:
    assert reasons(GOOD, None, None) == ()


def test_the_worst_decisions_are_those_with_most_at_stake() -> None:
    source = np.array([[1.0, 0.0], [5.0, 0.0], [0.0, 2.0], [1.0, 0.5]])
    made = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.4, 0.5]])
    assert worst_decisions(Action("discrete", 2), source, made, 2) == (
        WorstDecision(1, (0.0,), (1.0,), 5.0),
        WorstDecision(0, (0.0,), (1.0,), 1.0),
    )
    assert worst_decisions(Action("discrete", 2), source, source) == ()


def test_a_calibration_on_too_little_is_found_by_trying_another() -> None:
    rng = np.random.default_rng(0)
    policy = mlp(rng, (6, 24, 24, 3))
    held = observations(rng, 400, 6)
    narrow = calibrate(
        np.asarray(0.05 * held[:32] + held.mean(axis=0), np.float32), policy.contract
    )
    trials = try_changes(policy, quantize_on_rung(policy, narrow, 2), held)
    assert trials[0].change == RECALIBRATED
    assert trials[0].helps
    assert trials[0].observations == 200


def test_a_higher_rung_is_advised_where_it_helps_on_observations_it_was_not_fitted_to() -> None:
    rng = np.random.default_rng(1)
    policy = mlp(rng, (6, 24, 24, 3), "tanh", squash=True)
    held = observations(rng, 400, 6)
    trials = try_changes(
        policy, quantize_on_rung(policy, calibrate(held, policy.contract), 0), held
    )
    assert [trial.rung for trial in trials] == list(range(6))
    assert any(trial.helps for trial in trials[1:])
    assert all(trial.before == trials[0].before for trial in trials)


@pytest.mark.parametrize("count", [10, 31])
def test_too_few_observations_try_nothing(count: int) -> None:
    rng = np.random.default_rng(0)
    policy, held = mlp(rng, (6, 8, 3)), observations(rng, 64, 6)
    assert (
        try_changes(
            policy, quantize_on_rung(policy, calibrate(held, policy.contract), 0), held[:count]
        )
        == ()
    )


def test_images_try_nothing() -> None:
    rng = np.random.default_rng(0)
    policy, held = cnn(rng), pixels(rng, 40, (2, 11, 11))
    assert (
        try_changes(policy, quantize_on_rung(policy, calibrate(held, policy.contract), 0), held)
        == ()
    )
