"""Weights fitted to the integers a layer reads: what the layers before lose comes back as far as it
is linear, and nothing is changed where nothing was lost.
"""

from __future__ import annotations

import numpy as np
import pytest

from quarl.graph.policy import Dense
from quarl.graph.quant_policy import QuantTensor
from quarl.quantize.refit import refit

TENSOR = QuantTensor(np.float32(1 / 64), 3, -(2**15), 2**15 - 1)


def layer(rng: np.random.Generator, inputs: int = 6, outputs: int = 4) -> Dense:
    return Dense(
        rng.normal(0, 1, (outputs, inputs)).astype(np.float32), np.zeros(outputs, np.float32)
    )


def read_as(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Return int32: what the tensor makes of values."""
    return TENSOR.quantize(values.astype(np.float32)).astype(np.int32)


def test_an_input_that_lost_nothing_keeps_its_weights() -> None:
    rng = np.random.default_rng(0)
    op, real = layer(rng), rng.integers(-500, 500, (300, 6)) / 64
    np.testing.assert_allclose(refit(op, real, read_as(real), TENSOR), op.weights, atol=1e-12)


def test_inputs_that_were_mixed_are_unmixed_as_far_as_the_damping_allows() -> None:
    """The results through fitted weights are five times closer than through the source's."""
    rng = np.random.default_rng(1)
    op, real = layer(rng), rng.normal(0, 1, (2000, 6))
    mixed = real + 0.05 * real[:, ::-1]
    fitted = refit(op, real, read_as(mixed), TENSOR)
    wanted = real @ op.weights.T
    off = [np.abs(mixed @ weights.T - wanted).mean() for weights in (op.weights, fitted)]
    assert off[1] < 0.2 * off[0]


@pytest.mark.parametrize("constant", [0.0, 2.5])
def test_constant_inputs_change_nothing(constant: float) -> None:
    op = layer(np.random.default_rng(2))
    real = np.full((50, 6), constant)
    np.testing.assert_array_equal(
        refit(op, real, read_as(real + 0.25), TENSOR), op.weights.astype(np.float64)
    )
