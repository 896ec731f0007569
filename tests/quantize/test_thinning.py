"""A long calibration is thinned: every extreme stays, and so do the ranges."""

from __future__ import annotations

import numpy as np
import pytest

from quarl.quantize import thinning
from quarl.quantize.calibration import Calibration
from quarl.quantize.folding import float64_results
from quarl.quantize.ladder import quantize_on_rung
from quarl.quantize.thinning import thinned
from quarl.quantize.transforms import units_of
from tests.support.samples import SAMPLES


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "MOST_OBSERVATIONS", 500)
    monkeypatch.setattr(thinning, "PART_ROWS", 300)


def calibration(count: int) -> Calibration:
    rng = np.random.default_rng(1)
    obs = rng.standard_t(3, (count, 17)).astype(np.float32)
    return Calibration(obs, np.repeat(np.arange(count // 100), 100).astype(np.int32))


def test_a_calibration_that_is_short_enough_stays_as_it_is() -> None:
    policy, given = SAMPLES["argmax_mlp"](np.random.default_rng(0)), calibration(500)
    assert thinned(policy, given) is given


def test_ranges_of_every_tensor_are_those_of_all_observations() -> None:
    policy, given = SAMPLES["argmax_mlp"](np.random.default_rng(0)), calibration(3_000)
    kept = thinned(policy, given)
    assert len(kept.obs) <= 500
    rows = {row.tobytes() for row in given.obs}
    assert all(row.tobytes() in rows for row in kept.obs)
    assert len(kept.episode) == len(kept.obs)
    units = units_of(policy)
    whole, part = (float64_results(units, obs.astype(np.float64)) for obs in (given.obs, kept.obs))
    for name, values in whole.items():
        np.testing.assert_allclose(values.min(axis=0), part[name].min(axis=0), rtol=1e-12)
        np.testing.assert_allclose(values.max(axis=0), part[name].max(axis=0), rtol=1e-12)


def test_the_quantiser_takes_the_same_scales_from_the_rest() -> None:
    policy, given = SAMPLES["argmax_mlp"](np.random.default_rng(0)), calibration(3_000)
    made = quantize_on_rung(policy, given, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thinning, "MOST_OBSERVATIONS", 3_000)
        whole = quantize_on_rung(policy, given, 0)
    for one, other in zip(made.nodes, whole.nodes, strict=True):
        assert one.output == other.output
