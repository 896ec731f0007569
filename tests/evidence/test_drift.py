"""Drift: both carry their own state over the same observations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from quarl.evidence.drift import DRIFT_STEPS, state_drift
from quarl.evidence.evidence import Evidence, evidence_from_json
from quarl.quantize.ladder import quantize_on_rung
from quarl.verdict.decision_checks import drift_checks
from tests.support.recurrent_policies import calibration_of, recurrent_policy
from tests.support.small_policies import mlp


def test_the_state_of_a_gru_stays_near_its_source_over_500_steps(tmp_path: Path) -> None:
    policy = recurrent_policy("GRU", tmp_path)
    calibration = calibration_of(policy)
    quantized = quantize_on_rung(policy, calibration, 1)
    drift = state_drift(policy, quantized, calibration.obs)
    assert drift is not None
    assert drift.steps == DRIFT_STEPS
    assert 0 < drift.late < 0.03
    assert drift.late < 3 * drift.early + 0.01
    assert evidence_from_json(replace(Evidence(), drift=drift).to_json()).drift == drift
    (check,) = drift_checks(drift)
    assert "after 500 steps" in check.detail


def test_a_state_that_is_wrong_shows(tmp_path: Path) -> None:
    policy = recurrent_policy("LSTM", tmp_path)
    calibration = calibration_of(policy)
    quantized = quantize_on_rung(policy, calibration, 1)
    other = recurrent_policy("LSTM", tmp_path, seed=5)
    drift = state_drift(other, quantized, calibration.obs)
    assert drift is not None
    assert drift.late > 0.2


def test_a_policy_without_a_state_has_no_drift() -> None:
    policy = mlp(np.random.default_rng(0), (4, 8, 2))
    assert state_drift(policy, None, np.zeros((3, 4))) is None  # type: ignore[arg-type]
