"""Weights to int8: steps that fill the range, rounding to the nearest, and rounding that follows
the data.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from quarl.graph.rescale import rescale_factor
from quarl.quantize.weight_rounding import (
    BLOCK,
    WEIGHT_MAX,
    round_nearest,
    round_to_data,
    weight_scales,
)

NARROW = 2**24
seeds = st.integers(0, 2**32 - 1)


def error(
    weights: NDArray[np.float64],
    scale: NDArray[np.float32],
    rounded: NDArray[np.int8],
    covariance: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return float64 [out]: the mean square of what rounding changes in each channel's results."""
    left = weights - rounded * scale[:, None].astype(np.float64)
    return ((left @ covariance) * left).sum(axis=1)


def case(
    seed: int, outputs: int = 8, inputs: int = 20, rank: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float64]]:
    """Return random weights, their scales, and the covariance of correlated inputs."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 1, (outputs, inputs)) * np.exp2(rng.uniform(-3, 3, (outputs, 1)))
    mixed = (
        rng.normal(0, 1, (400, rank or inputs))
        @ rng.normal(0, 1, (rank or inputs, inputs))
        * np.exp2(rng.uniform(-3, 3, inputs))
    )
    return (
        weights,
        weight_scales(weights, np.zeros(outputs), np.float32(0.1), NARROW),
        np.cov(mixed.T, bias=True),
    )


@given(seeds, st.integers(1, 40))
def test_the_largest_weight_fills_int8_and_none_is_clipped(seed: int, inputs: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 1, (6, inputs)) * np.exp2(rng.uniform(-6, 6, (6, 1)))
    scale = weight_scales(weights, np.zeros(6), np.float32(1), NARROW)
    assert scale.dtype == np.float32
    assert (np.abs(weights).max(axis=1) <= scale.astype(np.float64) * WEIGHT_MAX).all()
    rounded = round_nearest(weights, scale)
    assert (np.abs(rounded.astype(int)).max(axis=1) == WEIGHT_MAX).all()
    assert (
        np.abs(rounded * scale[:, None].astype(np.float64) - weights)
        <= scale[:, None].astype(np.float64) / 2
    ).all()


@given(st.floats(-1e6, 1e6), st.floats(1e-12, 1e3), st.floats(1e-4, 10))
def test_a_bias_never_takes_more_than_an_eighth_of_the_accumulator(
    bias: float, peak: float, in_scale: float
) -> None:
    scale = weight_scales(
        np.array([[peak, -peak / 2]]), np.array([bias]), np.float32(in_scale), NARROW
    )
    assert abs(bias) / (np.float64(np.float32(in_scale)) * scale[0]) <= NARROW / 8 * (1 + 1e-6)


@pytest.mark.parametrize("small", [0.0, 1e-12, 1e-30, 1e-42])
def test_a_channel_of_almost_nothing_gets_a_usable_step(small: float) -> None:
    """Weight decay leaves denormals and zeros: their multiplier must neither vanish nor exceed its
    limit.
    """
    weights = np.array([[0.5, -0.2], [small, -small], [small, 0.0]])
    for in_scale in (np.float32(1), np.float32(1e-6), np.float32(300)):
        scale = weight_scales(weights, np.zeros(3), in_scale, NARROW)
        multiplier = rescale_factor(in_scale, scale, np.float32(float(in_scale) * 0.01))
        assert (multiplier > 0).all()
        assert (multiplier < 256).all()
        assert np.isfinite(1 / scale).all()
        assert (
            np.abs(
                round_nearest(weights, scale)[1:] * scale[1:, None].astype(np.float64) - weights[1:]
            )
            < 1e-9
        ).all()


@pytest.mark.parametrize("in_scale", [1e-6, 1.0, 300.0])
def test_a_layer_of_zeros_gets_a_usable_step(in_scale: float) -> None:
    scale = weight_scales(np.zeros((2, 3)), np.zeros(2), np.float32(in_scale), NARROW)
    multiplier = rescale_factor(np.float32(in_scale), scale, np.float32(1 / 255))
    assert (multiplier > 0).all()
    assert (multiplier < 256).all()


def test_nearest_rounds_half_to_even() -> None:
    weights = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, 127.0, 126.5]])
    assert round_nearest(weights, np.ones(1, np.float32)).tolist() == [[0, 2, 2, 0, -2, 127, 126]]


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(1, 3 * BLOCK), st.sampled_from([None, 1, 3]))
def test_following_the_data_is_never_worse_than_the_nearest_on_that_data(
    seed: int, inputs: int, rank: int | None
) -> None:
    weights, scale, covariance = case(seed, inputs=inputs, rank=rank)
    covariance = np.atleast_2d(covariance)
    nearest, fitted = (
        error(weights, scale, r, covariance)
        for r in (round_nearest(weights, scale), round_to_data(weights, scale, covariance))
    )
    assert (fitted <= nearest * (1 + 1e-9) + 1e-12).all()


def test_following_the_data_gains_much_where_inputs_are_correlated() -> None:
    ratios = []
    for seed in range(10):
        weights, scale, covariance = case(seed, inputs=64, rank=8)
        nearest, fitted = (
            error(weights, scale, r, covariance).sum()
            for r in (round_nearest(weights, scale), round_to_data(weights, scale, covariance))
        )
        ratios.append(fitted / nearest)
    assert np.median(ratios) < 0.2


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_it_is_rounding_to_the_nearest_where_inputs_are_independent(seed: int) -> None:
    weights, scale, covariance = case(seed)
    np.testing.assert_array_equal(
        round_to_data(weights, scale, np.diag(np.diag(covariance))), round_nearest(weights, scale)
    )


def test_it_is_rounding_to_the_nearest_where_inputs_never_move() -> None:
    weights, scale, covariance = case(0)
    np.testing.assert_array_equal(
        round_to_data(weights, scale, np.zeros_like(covariance)), round_nearest(weights, scale)
    )


@pytest.mark.parametrize("still", [1, 10, 19])
def test_inputs_that_never_move_do_no_harm(still: int) -> None:
    weights, scale, covariance = case(1)
    covariance[:still] = 0
    covariance[:, :still] = 0
    rounded = round_to_data(weights, scale, covariance)
    assert (
        error(weights, scale, rounded, covariance)
        <= error(weights, scale, round_nearest(weights, scale), covariance) + 1e-12
    ).all()
    np.testing.assert_array_equal(rounded[:, :still], round_nearest(weights, scale)[:, :still])


def test_columns_are_rounded_the_same_in_blocks_and_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights, scale, covariance = case(2, inputs=150)
    blocks = round_to_data(weights, scale, covariance)
    monkeypatch.setattr("quarl.quantize.weight_rounding.BLOCK", 1)
    np.testing.assert_array_equal(round_to_data(weights, scale, covariance), blocks)


def test_it_equals_a_plain_search_on_two_weights() -> None:
    """Least squares by trying all: with two inputs the scheme finds the best neighbours in nearly
    every channel, and is never far off.
    """
    rng = np.random.default_rng(3)
    covariance = np.array([[1.0, 0.95], [0.95, 1.0]])
    weights = rng.normal(0, 1, (200, 2))
    scale = weight_scales(weights, np.zeros(200), np.float32(1), NARROW) * np.float32(
        16
    )  # coarse: rounding matters
    made = error(weights, scale, round_to_data(weights, scale, covariance), covariance)
    base = np.floor(weights / scale[:, None])
    around = [(a, b) for a in range(-2, 4) for b in range(-2, 4)]
    best = np.min(
        [
            error(weights, scale, (base + np.array(step)).astype(np.int8), covariance)
            for step in around
        ],
        axis=0,
    )
    assert (made <= best * (1 + 1e-9)).mean() > 0.6
    assert made.sum() < 1.6 * best.sum()


def test_weights_stay_in_symmetric_int8() -> None:
    weights, scale, covariance = case(4, inputs=100, rank=2)
    rounded = round_to_data(weights, scale, covariance)
    assert rounded.dtype == np.int8
    assert np.abs(rounded.astype(int)).max() <= WEIGHT_MAX
