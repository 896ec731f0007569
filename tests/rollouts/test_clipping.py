"""Observation values beyond the quantised input's range are counted, by feature, whatever the
batches they come in.
"""

from __future__ import annotations

import numpy as np
import pytest

from quarl.quantize.calibration import calibrate
from quarl.quantize.ladder import quantize_on_rung
from quarl.rollouts.clipping import ClipCounter
from tests.support.small_policies import cnn, mlp, observations, pixels

NONE = np.zeros(0, np.int64)


@pytest.mark.parametrize("rung", [0, 1, 4])
def test_what_the_calibration_covers_is_not_clipped_and_what_lies_far_outside_is(rung: int) -> None:
    rng = np.random.default_rng(0)
    policy, obs = mlp(rng, (5, 8, 3)), observations(rng, 300, 5)
    quantized = quantize_on_rung(policy, calibrate(obs, policy.contract), rung)
    counter = ClipCounter(quantized)
    counter.observe(NONE, NONE, obs)
    covered = counter.result()
    assert covered is not None
    assert (covered.values, covered.outside, covered.worst_feature) == (1500, 0, "")
    far = obs.copy()
    widest = int(np.ptp(obs, axis=0).argmax())
    far[:30, widest] = 10 * np.abs(obs).max()
    counter.observe(NONE, NONE, far)
    clipped = counter.result()
    assert clipped is not None
    assert (clipped.values, clipped.outside) == (3000, 30)
    assert clipped.worst_feature == f"feature {widest}"
    assert clipped.worst_share == pytest.approx(30 / 600)


def test_batches_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    policy, obs = mlp(rng, (4, 8, 2)), observations(rng, 90, 4)
    quantized = quantize_on_rung(policy, calibrate(obs[:30] / 3, policy.contract), 1)
    whole, parts = ClipCounter(quantized), ClipCounter(quantized)
    whole.observe(NONE, NONE, obs)
    for start in range(0, 90, 7):
        parts.observe(NONE, NONE, obs[start : start + 7])
    assert whole.result() == parts.result()
    assert whole.result().outside > 0  # type: ignore[union-attr]


def test_pixels_are_never_clipped_and_nothing_is_counted_of_them() -> None:
    rng = np.random.default_rng(0)
    policy, obs = cnn(rng), pixels(rng, 20, (2, 11, 11))
    counter = ClipCounter(quantize_on_rung(policy, calibrate(obs, policy.contract), 0))
    counter.observe(NONE, NONE, obs)
    assert counter.result() is None
