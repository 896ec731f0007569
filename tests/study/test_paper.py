"""QuaRL's own quantiser: a grid with zero on it, one step a dense layer, one a channel of a
convolution.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarl.graph.policy import Conv2D, Dense, Policy
from quarl.study.paper import rounded_as_paper, rounded_to_half
from tests.support.small_policies import cnn, mlp

rng = np.random.default_rng


def weights_of(policy: Policy, kind: type) -> list[np.ndarray]:
    return [node.op.weights for node in policy.nodes if isinstance(node.op, kind)]


@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(2, 8))
@settings(max_examples=30, deadline=None)
def test_weights_lie_on_the_grid_and_move_at_most_half_a_step(seed: int, bits: int) -> None:
    source = mlp(rng(seed), (5, 12, 3))
    made = rounded_as_paper(source, bits)
    for before, after in zip(weights_of(source, Dense), weights_of(made, Dense), strict=True):
        exact = before.astype(np.float64)
        step = (abs(min(exact.min(), 0)) + max(exact.max(), 0)) / 2**bits
        assert np.abs(after / step - np.rint(after / step)).max() < 1e-3
        assert np.abs(after - exact).max() <= step * 0.5001
        assert len(np.unique(after)) <= 2**bits + 1  # no clamp, as in the paper's code


def test_each_channel_of_a_convolution_has_its_own_step() -> None:
    source = cnn(rng(0))
    (before,), (after,) = (weights_of(p, Conv2D) for p in (source, rounded_as_paper(source, 3)))
    steps = []
    for channel in range(len(before)):
        values = np.unique(np.abs(after[channel]))
        steps.append(float(values[values > 0].min()))
    assert len({round(step, 6) for step in steps}) > 1


def test_biases_and_everything_else_stay_float() -> None:
    source = mlp(rng(1), (5, 12, 3))
    made = rounded_as_paper(source, 2)
    for before, after in zip(source.nodes, made.nodes, strict=True):
        if isinstance(before.op, Dense) and isinstance(after.op, Dense):
            np.testing.assert_array_equal(before.op.bias, after.op.bias)
    assert made.contract == source.contract


def test_half_precision_rounds_every_parameter() -> None:
    made = rounded_to_half(mlp(rng(2), (5, 12, 3)))
    for node in made.nodes:
        if isinstance(node.op, Dense):
            for values in (node.op.weights, node.op.bias):
                np.testing.assert_array_equal(values, values.astype(np.float16))
                assert values.dtype == np.float32


def test_a_layer_of_zeros_stays_zero() -> None:
    source = mlp(rng(3), (4, 2))
    zero = Dense(np.zeros((2, 4), np.float32), np.ones(2, np.float32))
    from dataclasses import replace

    made = rounded_as_paper(replace(source, nodes=(replace(source.nodes[0], op=zero),)), 4)
    assert weights_of(made, Dense)[0].tolist() == [[0.0] * 4] * 2
    assert pytest.approx(0) == weights_of(made, Dense)[0].sum()
