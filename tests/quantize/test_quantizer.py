"""Quantising: exact folds, ranges that hold, means that match, decisions that improve rung by rung,
and bytes that never change.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from quarl.bundle.policy_file import quant_policy_bytes
from quarl.errors import QuantizationError, UnsupportedError
from quarl.graph.contract import Action, Normalizer, Observation
from quarl.graph.policy import (
    INPUT,
    Activation,
    Add,
    Concat,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Function,
    Node,
    Op,
    Policy,
    linear_chain,
    run_graph,
)
from quarl.graph.quant_policy import (
    QuantPolicy,
    QuantTable,
    QuantTensor,
    QuantWeighted,
    accumulator_bound,
    is_wide_layer,
)
from quarl.graph.reference import (
    accumulate,
    act,
    integer_outputs,
    quantize_observations,
    real_outputs,
    run_integers,
)
from quarl.quantize.calibration import calibrate
from quarl.quantize.ladder import LADDER
from quarl.quantize.layer_fit import LayerInput, fit_layer
from quarl.quantize.observation import observation_quantizer
from quarl.quantize.quantizer import function_table, quantize
from quarl.quantize.settings import QuantSettings
from quarl.quantize.transforms import Unit, run_units, units_of
from tests.conftest import need
from tests.support.small_policies import (
    cnn,
    conv,
    dense,
    depthwise,
    look,
    looks,
    mlp,
    observations,
    pixels,
    policy,
    two_branches,
)

PLAIN = QuantSettings()
RUNGS = [rung.settings for rung in LADDER]
FINER = replace(RUNGS[5], input_copies=2, head_copies=2)
seeds = st.integers(0, 2**32 - 1)


def made(source: Policy, obs: NDArray[Any], options: QuantSettings = PLAIN) -> QuantPolicy:
    return quantize(source, calibrate(obs, source.contract), options, 0)


def float64_outputs(source: Policy, obs: NDArray[Any]) -> NDArray[np.float64]:
    observation = source.contract.observation
    values = (
        obs.astype(np.float64)
        if observation.normalizer is None
        else observation.normalizer.apply(obs)
    )
    result: NDArray[np.float64] = run_graph(source.nodes, values)[source.nodes[-1].name]
    return result


def noise_db(exact: NDArray[Any], real: NDArray[Any]) -> float:
    """Return the signal to noise ratio in dB; of discrete policies only what tells actions apart
    counts as signal.
    """
    centred = exact - exact.mean(axis=1, keepdims=True)
    error = real - real.mean(axis=1, keepdims=True) - centred
    return float(10 * np.log10(np.square(centred).sum() / np.square(error).sum()))


# The observation


def folds(
    source: Policy, obs: NDArray[Any], bits: int, *, feature_scales: bool
) -> tuple[Any, tuple[Unit, ...]]:
    return observation_quantizer(
        source,
        units_of(source),
        calibrate(obs, source.contract),
        bits,
        feature_scales=feature_scales,
    )


NORMALIZERS: dict[str, Callable[[NDArray[Any]], Normalizer | None]] = {
    "none": lambda obs: None,
    "statistics": lambda obs: Normalizer(
        tuple(obs.mean(axis=0).tolist()), tuple(obs.var(axis=0).tolist()), 1e-8, 10.0
    ),
    "of other data": lambda obs: Normalizer(
        tuple((obs.mean(axis=0) + 1).tolist()), tuple((obs.var(axis=0) * 3).tolist()), 1e-8, 1.0
    ),
}


@pytest.mark.parametrize("name", NORMALIZERS)
@pytest.mark.parametrize("feature_scales", [False, True])
@pytest.mark.parametrize("bits", [8, 12])
def test_folding_scales_and_normaliser_is_exact(name: str, feature_scales: bool, bits: int) -> None:
    """The folded layers on integers give what the policy gives for the observations those integers
    stand for.
    """
    rng = np.random.default_rng(0)
    obs = observations(rng, 300, 6)
    source = mlp(rng, (6, 9, 3), normalizer=NORMALIZERS[name](obs))
    quantizer, folded = folds(source, obs, bits, feature_scales=feature_scales)
    integers = quantizer.quantize(obs)
    stands_for = (integers - quantizer.zero_point) / quantizer.inv_scale.astype(np.float64)
    tensor = quantizer.tensor
    outputs = run_units(folded, (integers - tensor.zero_point) * np.float64(tensor.scale))[
        folded[-1].name
    ]
    normalizer = source.contract.observation.normalizer
    values = (
        stands_for
        if normalizer is None
        else (stands_for - np.array(normalizer.mean)) / normalizer.std
    )  # its clip is the clamp
    expected = run_graph(source.nodes, values)[source.nodes[-1].name]
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", NORMALIZERS)
@pytest.mark.parametrize("feature_scales", [False, True])
def test_the_error_of_the_observation_vanishes_with_its_bits(
    name: str, feature_scales: bool
) -> None:
    rng = np.random.default_rng(1)
    obs = observations(rng, 300, 6)
    source = mlp(rng, (6, 9, 3), normalizer=NORMALIZERS[name](obs))
    exact = float64_outputs(source, obs)
    errors = []
    for bits in (8, 12, 14):
        quantizer, folded = folds(source, obs, bits, feature_scales=feature_scales)
        real = (quantizer.quantize(obs) - quantizer.tensor.zero_point) * np.float64(
            quantizer.tensor.scale
        )
        errors.append(
            float(np.sqrt(np.square(run_units(folded, real)[folded[-1].name] - exact).mean()))
        )
    assert errors[1] < errors[0] / 8
    assert errors[2] < errors[1] / 2


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(list(NORMALIZERS)), st.booleans(), st.sampled_from([8, 12]))
def test_every_calibration_value_comes_back_within_half_a_step(
    seed: int, name: str, feature_scales: bool, bits: int
) -> None:
    rng = np.random.default_rng(seed)
    obs = observations(rng, 60, 5)
    normalizer = NORMALIZERS[name](obs)
    quantizer, _ = folds(
        mlp(rng, (5, 4, 2), normalizer=normalizer), obs, bits, feature_scales=feature_scales
    )
    values = obs.astype(np.float64)
    if normalizer is not None:
        limit = normalizer.clip_obs * normalizer.std
        values = np.clip(
            values, np.array(normalizer.mean) - limit, np.array(normalizer.mean) + limit
        )
    steps = values * quantizer.inv_scale + quantizer.zero_point
    slack = (
        0.5 if not feature_scales else 0.01
    )  # one scale spans [low, high] widened to 0: its rounded zero point may clip half a step
    assert (
        np.abs(steps - quantizer.quantize(obs)).max()
        <= 0.5 + slack + np.abs(steps - quantizer.zero_point).max() * 2.0**-22
    )


@pytest.mark.parametrize(("side", "end"), [(-1, "qmin"), (1, "qmax")])
def test_integers_clip_where_the_normaliser_clips_even_if_steps_are_coarse(
    side: int, end: str
) -> None:
    """The feature hardly leaves the clipped end: its range is finer than float32 tells apart."""
    normalizer = Normalizer((1.2 * side,), (0.04,), 1e-8, 1.0)  # clips at 1.0 and 1.4 of side
    obs = np.repeat(np.array([[2.1], [1.7], [1.3999]], np.float32), 20, axis=0) * side
    quantizer, _ = folds(
        mlp(np.random.default_rng(0), (1, 4, 2), normalizer=normalizer),
        obs,
        12,
        feature_scales=True,
    )
    last = getattr(quantizer.tensor, end)
    np.testing.assert_array_equal(quantizer.quantize(obs)[:40, 0], last)
    at_the_end = quantizer.quantize(np.array([[1.4 * side]], np.float32))
    assert abs(int(at_the_end[0, 0]) - last) <= 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("offset", [0.0, 5.0, -1e3, 1e6, 3e9, 1e30])
@pytest.mark.parametrize("spread", [0.0, 1e-7, 1e-4, 1.0])
def test_features_that_hardly_move_far_from_zero_keep_usable_zero_points(
    offset: float, spread: float, bits: int
) -> None:
    """Zero points stay below 2^22, where every target's clamp is exact; a constant feature does no
    harm to the others.
    """
    rng = np.random.default_rng(0)
    obs = rng.normal(0, 1, (100, 3))
    obs[:, 1] = offset + rng.normal(0, spread, 100)
    source = mlp(rng, (3, 8, 2))
    source.nodes[0].op.weights[:, 1] = 1 / max(abs(offset), 1)  # type: ignore[union-attr]
    quantized = made(
        source, obs.astype(np.float32), replace(PLAIN, feature_scales=True, input_bits=bits)
    )
    assert np.abs(quantized.observation.zero_point).max() < 2**22
    integers = quantize_observations(quantized, obs)
    assert integers.min() >= quantized.observation.tensor.qmin
    assert integers.max() <= quantized.observation.tensor.qmax
    assert (
        noise_db(
            float64_outputs(source, obs.astype(np.float32)),
            real_outputs(quantized, integer_outputs(quantized, obs)),
        )
        > 20
    )


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize(("mean", "var"), [(100.0, 0.0), (1e5, 0.0), (1e6, 1e-12), (3.0, 1e-30)])
def test_statistics_of_a_constant_feature_do_not_overflow(
    rung: QuantSettings, mean: float, var: float
) -> None:
    """A running mean of 100 with variance 0 and epsilon 1e-8 stands 10,000,000 steps from zero."""
    rng = np.random.default_rng(0)
    obs = rng.normal(0, 1, (100, 3))
    obs[:, 2] = mean
    source = mlp(
        rng, (3, 8, 2), normalizer=Normalizer((0.0, 0.0, mean), (1.0, 1.0, var), 1e-8, 10.0)
    )
    quantized = made(source, obs, rung)
    assert np.abs(quantized.observation.zero_point).max() < 2**22
    assert (
        noise_db(
            float64_outputs(source, obs), real_outputs(quantized, integer_outputs(quantized, obs))
        )
        > 20
    )


def test_one_scale_per_feature_saves_small_features_beside_large_ones() -> None:
    rng = np.random.default_rng(0)
    obs = rng.normal(0, 1, (400, 4)) * np.array([30, 1, 0.1, 0.05])
    source = mlp(rng, (4, 16, 3))
    source.nodes[0].op.weights[:] /= np.array([30, 1, 0.1, 0.05], np.float32)  # type: ignore[union-attr]
    exact = float64_outputs(source, obs)
    before, after = (
        noise_db(exact, real_outputs(q, integer_outputs(q, obs)))
        for q in (made(source, obs), made(source, obs, replace(PLAIN, feature_scales=True)))
    )
    assert after > before + 15


def test_pixels_need_no_arithmetic() -> None:
    source = cnn(np.random.default_rng(0))
    frames = pixels(np.random.default_rng(1), 40, (2, 11, 11))
    quantized = made(source, frames)
    assert quantized.observation.is_pixels
    np.testing.assert_array_equal(
        quantize_observations(quantized, frames),
        (frames ^ 0x80).view(np.int8).transpose(0, 2, 3, 1),
    )


# Layers


@settings(max_examples=25, deadline=None)
@given(seeds, st.booleans(), st.sampled_from([1, 3]))
def test_bias_correction_makes_channel_means_equal(
    seed: int, data_rounding: bool, stride: int
) -> None:
    rng = np.random.default_rng(seed)
    tensor = QuantTensor(np.float32(0.05), -30)
    for op, shape in (
        (dense(rng, 7, 12), (200, 12)),
        (conv(rng, 5, (3, 2), 2, (stride, 1), ((1, 0), (0, 1))), (20, 6, 5, 2)),
    ):
        integers = rng.integers(-128, 128, shape).astype(np.int32)
        real = (integers + 30) * 0.05 + rng.normal(0, 0.05, shape) + 0.01
        unit = Unit(
            "layer",
            replace(op, weights=op.weights.astype(np.float64), bias=op.bias.astype(np.float64)),
            (INPUT,),
        )
        fitted = fit_layer(
            unit,
            LayerInput(real, integers, tensor),
            None,
            replace(PLAIN, bias_correction=True, data_rounding=data_rounding),
        )
        exact = run_units((unit,), real)["layer"]
        step = np.float64(tensor.scale) * fitted.weight_scale
        acc = accumulate(fitted, integers, tensor).astype(np.float64) * step
        axes = tuple(range(exact.ndim - 1))
        assert (
            np.abs(acc.mean(axis=axes) - exact.mean(axis=axes)) <= 0.5 * step * 1.001 + 1e-9
        ).all()


def test_data_rounding_makes_a_layers_results_closer() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.normal(0, 1, (500, 4)) @ rng.normal(0, 1, (4, 24))
    tensor = QuantTensor(np.float32(np.abs(mixed).max() / 127), 0)
    integers = tensor.quantize(mixed)
    op = dense(rng, 10, 24)
    unit = Unit(
        "layer",
        replace(op, weights=op.weights.astype(np.float64), bias=op.bias.astype(np.float64)),
        (INPUT,),
    )
    exact = run_units((unit,), tensor.dequantize(integers).astype(np.float64))["layer"]
    errors = []
    for options in (PLAIN, replace(PLAIN, data_rounding=True, bias_correction=True)):
        fitted = fit_layer(unit, LayerInput(mixed, integers, tensor), None, options)
        real = (
            accumulate(fitted, integers, tensor).astype(np.float64)
            * np.float64(tensor.scale)
            * fitted.weight_scale
        )
        errors.append(np.square(real - real.mean(axis=0) - exact + exact.mean(axis=0)).mean())
    assert errors[1] < errors[0] / 3


def test_a_convolutions_covariance_sees_all_of_the_image() -> None:
    """Inputs are correlated only right of the middle: rows taken with the image's own period would
    never look there.
    """
    rng = np.random.default_rng(0)
    integers = rng.integers(-100, 100, (412, 20, 20, 6)).astype(np.int32)
    integers[:, :, 1:] = integers[:, :, 1:, :1] + rng.integers(-3, 4, (412, 20, 19, 6))
    integers[:, :, 0] = 0
    tensor = QuantTensor(np.float32(0.05), 0)
    op = conv(rng, 8, (1, 1), 6)
    unit = Unit(
        "layer",
        replace(op, weights=op.weights.astype(np.float64), bias=op.bias.astype(np.float64)),
        (INPUT,),
    )
    nearest, fitted = (
        fit_layer(
            unit,
            LayerInput(integers * 0.05, integers, tensor),
            None,
            replace(PLAIN, data_rounding=rounding),
        )
        for rounding in (False, True)
    )
    sample = integers[::50]
    exact = run_units((unit,), sample * 0.05)["layer"]
    errors = []
    for layer in (nearest, fitted):
        error = (
            accumulate(layer, sample, tensor) * np.float64(tensor.scale) * layer.weight_scale
            - exact
        )
        errors.append(np.square(error - error.mean(axis=(0, 1, 2))).mean())
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("function", ["tanh", "sigmoid", "elu", "relu", "relu6"])
@pytest.mark.parametrize("bits", [8, 12])
def test_tables_are_the_function_rounded(function: Function, bits: int) -> None:
    low = -(2 ** (bits - 1))
    source = QuantTensor(np.float32(6 / 2 ** (bits - 1)), 7, low, -low - 1)
    output = QuantTensor(
        np.float32(1 / 256 if function == "sigmoid" else 1 / 128),
        -128 if function == "sigmoid" else 0,
    )
    table = function_table(function, source, output)
    assert isinstance(table, QuantTable)
    real = (np.arange(low, -low) - 7) * float(source.scale)
    exact = {
        "tanh": np.tanh(real),
        "sigmoid": 1 / (1 + np.exp(-real)),
        "elu": np.where(real > 0, real, np.exp(np.minimum(real, 0)) - 1),
        "relu": np.maximum(real, 0),
        "relu6": np.clip(real, 0, 6),
    }[function]
    wanted = np.clip(exact / float(output.scale) + output.zero_point, -128, 127)
    assert np.abs(table.table - wanted).max() <= 0.5 + 1e-4


def test_average_pooling_as_a_depthwise_layer_is_the_average() -> None:
    rng = np.random.default_rng(0)
    pool = DepthwiseConv2D(np.full((3, 2, 2), 0.25, np.float32), np.zeros(3, np.float32), (2, 2))
    layers: list[tuple[str, Op]] = [
        ("pool", pool),
        ("flatten", Flatten()),
        ("head", dense(rng, 3, 27)),
    ]
    source = policy(
        linear_chain(layers), Observation((6, 6, 3), "uint8", "hwc"), Action("discrete", 3)
    )
    frames = pixels(rng, 50, (6, 6, 3))
    quantized = made(source, frames)
    op = quantized.nodes[0].op
    assert isinstance(op, QuantWeighted)
    assert (op.weights == 127).all()
    output = quantized.nodes[0].output
    assert output is not None
    pooled = output.dequantize(
        run_integers(quantized, quantize_observations(quantized, frames))["pool"]
    )
    exact = frames.reshape(50, 3, 2, 3, 2, 3).mean(axis=(2, 4)) / 255
    assert np.abs(pooled - exact).max() <= 0.51 * float(output.scale)


# Odd layers


def relu_layers(source: Policy) -> Dense:
    op = source.nodes[0].op
    assert isinstance(op, Dense)
    return op


def dead_channels(op: Dense) -> None:
    op.bias[::2] = -1000


def dead_layer(op: Dense) -> None:
    op.bias[:] = -1000


def zero_rows(op: Dense) -> None:
    op.weights[::2] = 0
    op.bias[::2] = 0


def zero_weights_with_bias(op: Dense) -> None:
    op.weights[::2] = 0
    op.bias[::2] = 5


def zero_layer(op: Dense) -> None:
    op.weights[:] = 0
    op.bias[:] = 0


def denormals(op: Dense) -> None:
    op.weights[::2] *= np.float32(1e-42)
    op.bias[::2] = 0


def tiny_with_a_large_bias(op: Dense) -> None:
    op.weights[::2] *= np.float32(1e-9)
    op.bias[::2] = 3


def huge(op: Dense) -> None:
    op.weights[:] *= np.float32(1e12)


ODD = [
    dead_channels,
    dead_layer,
    zero_rows,
    zero_weights_with_bias,
    zero_layer,
    denormals,
    tiny_with_a_large_bias,
    huge,
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rung", range(len(RUNGS)))
@pytest.mark.parametrize("change", ODD)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_odd_layers_are_quantised_as_well_as_others(
    change: Callable[[Dense], None], rung: int, scale: float
) -> None:
    rng = np.random.default_rng(0)
    source = mlp(rng, (5, 8, 6, 3))
    obs = rng.normal(0, scale, (200, 5))
    relu_layers(source).weights[:] /= scale
    change(relu_layers(source))
    quantized = made(source, obs, RUNGS[rung])
    exact, real = (
        float64_outputs(source, obs),
        real_outputs(quantized, integer_outputs(quantized, obs)),
    )
    if change in (dead_layer, zero_layer):  # constant outputs
        assert np.abs(real - real[0]).max() == 0
        assert (
            np.abs(
                exact - exact.mean(axis=1, keepdims=True) - real + real.mean(axis=1, keepdims=True)
            ).max()
            < 0.02
        )
    else:
        assert noise_db(exact, real) > 15


@pytest.mark.parametrize("gain", [1e25, 1e37])
def test_weights_beyond_what_scales_can_hold_are_refused_by_name(gain: float) -> None:
    source = mlp(np.random.default_rng(0), (5, 8, 6, 3))
    relu_layers(source).weights[:] *= np.float32(gain)
    source.nodes[2].op.weights[:] *= np.float32(gain)  # type: ignore[union-attr]
    with pytest.raises(QuantizationError, match=r"dense[01]: its results lie"):
        made(source, np.random.default_rng(1).normal(0, 1, (50, 5)))


def test_one_action_is_always_chosen() -> None:
    source = mlp(np.random.default_rng(0), (5, 8, 1))
    obs = np.random.default_rng(1).normal(0, 1, (50, 5))
    for options in RUNGS:
        assert (act(made(source, obs, options), obs) == 0).all()


# Joined branches


@pytest.mark.parametrize("join", [Concat(), Add()])
@pytest.mark.parametrize(
    ("left", "right"), [("relu", None), ("relu6", "relu"), (None, "tanh"), ("sigmoid", "elu")]
)
@pytest.mark.parametrize("rung", [0, 2, 5])
def test_joined_branches_are_quantised_well(
    join: Op, left: Function | None, right: Function | None, rung: int
) -> None:
    rng = np.random.default_rng(3)
    source = two_branches(rng, join, left, right)
    obs = rng.normal(0, 2, (400, 5))
    quantized = made(source, obs, RUNGS[rung])
    exact = float64_outputs(source, obs)
    assert noise_db(exact, real_outputs(quantized, integer_outputs(quantized, obs))) > 22
    node = quantized.nodes[0]
    assert node.output is not None
    if left in ("relu", "relu6"):
        beyond = run_integers(quantized, quantize_observations(quantized, obs * 100))[node.name]
        assert beyond.min() >= node.output.zero_point
        if left == "relu6":
            assert node.output.dequantize(beyond).max() <= 6 + node.output.scale


def test_weights_of_twice_as_many_steps_make_closer_decisions() -> None:
    """By networks whose two layers are both finer."""
    rng = np.random.default_rng(3)
    losses = []
    for _ in range(8):
        source, obs = mlp(rng, (5, 32, 4)), observations(rng, 600, 5)
        exact = float64_outputs(source, obs)
        errors = []
        for copies in (1, 2, 4):
            quantized = made(
                source, obs, replace(RUNGS[5], input_copies=copies, head_copies=copies)
            )
            off = real_outputs(quantized, integer_outputs(quantized, obs)) - exact
            errors.append(np.abs(off - off.mean(axis=1, keepdims=True)))  # what argmax sees
        losses.append([error.mean() for error in errors])
    once, twice, fourfold = np.mean(losses, axis=0)
    assert twice < 0.8 * once
    assert fourfold < twice


def test_the_observation_may_be_joined_with_what_is_made_of_it() -> None:
    rng = np.random.default_rng(0)
    obs = observations(rng, 400, 5)
    normalizer = NORMALIZERS["statistics"](obs)
    nodes = (
        Node("a", dense(rng, 6, 5), (INPUT,)),
        Node("relu", Activation("relu"), ("a",)),
        Node("join", Concat(), (INPUT, "relu")),
        Node("head", dense(rng, 3, 11), ("join",)),
    )
    source = policy(
        nodes, Observation((5,), "float32", "vector", (), normalizer), Action("discrete", 3)
    )
    for options in RUNGS:
        quantized = made(source, obs, options)
        assert (
            noise_db(
                float64_outputs(source, obs),
                real_outputs(quantized, integer_outputs(quantized, obs)),
            )
            > 22
        )


# Heads


def test_a_wide_heads_accumulators_decide() -> None:
    rng = np.random.default_rng(0)
    source = mlp(rng, (5, 32, 4))
    obs = rng.normal(0, 1, (300, 5))
    quantized = made(source, obs, replace(PLAIN, wide_head=True))
    assert quantized.has_wide_head
    assert quantized.output_dtype is np.float32
    assert len(np.unique(integer_outputs(quantized, obs))) > 1000


def test_a_head_too_wide_for_exact_sums_stays_narrow() -> None:
    rng = np.random.default_rng(0)
    source = mlp(rng, (5, 4000, 2))
    quantized = made(source, rng.normal(0, 1, (50, 5)), replace(PLAIN, wide_head=True))
    assert quantized.output_dtype is np.int8


def test_a_head_behind_relu_keeps_its_clamp() -> None:
    rng = np.random.default_rng(0)
    layers = [
        ("a", dense(rng, 6, 5)),
        ("relu", Activation("relu")),
        ("head", dense(rng, 3, 6)),
        ("last", Activation("relu")),
    ]
    source = policy(
        linear_chain(layers), Observation((5,), "float32", "vector"), Action("discrete", 3)
    )
    obs = rng.normal(0, 1, (200, 5))
    for options in RUNGS:
        quantized = made(source, obs, options)
        assert real_outputs(quantized, integer_outputs(quantized, obs)).min() == 0


@pytest.mark.parametrize("function", ["tanh", "sigmoid"])
def test_a_squashed_action_gets_16_bits_of_its_whole_range(function: Function) -> None:
    rng = np.random.default_rng(0)
    layers = [
        ("a", dense(rng, 16, 5)),
        ("relu", Activation("relu")),
        ("head", dense(rng, 2, 16, 3.0)),
        ("squash", Activation(function)),
    ]
    source = policy(
        linear_chain(layers),
        Observation((5,), "float32", "vector"),
        Action("box", 2, (-1.0,) * 2, (1.0,) * 2),
    )
    obs = rng.normal(0, 1, (400, 5))
    exact = float64_outputs(source, obs)
    narrow, wide = (
        made(source, obs, replace(PLAIN, input_bits=12, hidden_bits=12, wide_head=head))
        for head in (False, True)
    )
    assert (narrow.output_dtype, wide.output_dtype) == (np.int8, np.int16)
    errors = [
        np.abs(real_outputs(q, integer_outputs(q, obs)) - exact).mean() for q in (narrow, wide)
    ]
    assert errors[1] < errors[0]
    assert errors[1] < 0.01


# The whole ladder


def test_decisions_get_closer_rung_by_rung() -> None:
    """Mean over random policies on observations of uneven scale; each rung may lose a little on one
    policy, none on average.
    """
    gains = np.zeros(len(RUNGS))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        obs = observations(rng, 500, 8)
        source = mlp(rng, (8, 24, 24, 4), "tanh" if seed % 2 else "relu")
        op = relu_layers(source)
        op.weights[:] /= obs.std(axis=0)
        op.bias[:] -= op.weights @ obs.mean(axis=0)
        source.nodes[-1].op.bias[:] += 30  # type: ignore[union-attr]
        exact = float64_outputs(source, obs)
        for rung, options in enumerate(RUNGS):
            quantized = made(source, obs, options)
            gains[rung] += noise_db(exact, real_outputs(quantized, integer_outputs(quantized, obs)))
    gains /= 6
    assert (np.diff(gains) > -0.2).all(), gains
    assert gains[1] > gains[0] + 5
    assert gains[-1] > gains[1] + 8


@pytest.mark.parametrize("rung", range(len(RUNGS)))
def test_quantising_twice_gives_the_same_bytes(rung: int) -> None:
    rng = np.random.default_rng(0)
    for source, obs in (
        (mlp(rng, (5, 16, 3)), observations(rng, 100, 5)),
        (cnn(rng), pixels(rng, 40, (2, 11, 11))),
    ):
        assert quant_policy_bytes(made(source, obs, RUNGS[rung])) == quant_policy_bytes(
            made(source, obs.copy(), RUNGS[rung])
        )


PRINT_DIGEST = """
import hashlib
import numpy as np
from quarl.quantize.calibration import calibrate
from quarl.quantize.ladder import LADDER
from quarl.bundle.policy_file import quant_policy_bytes
from quarl.quantize.quantizer import quantize
from tests.support.small_policies import cnn, mlp, observations, pixels

rng = np.random.default_rng(0)
small = (mlp(rng, (9, 200, 100, 3)), observations(rng, 500, 9))
for source, obs in ((cnn(rng), pixels(rng, 300, (2, 11, 11))), small):
    calibration = calibrate(obs, source.contract)
    data = quant_policy_bytes(quantize(source, calibration, LADDER[5].settings, 5))
    print(hashlib.sha256(data).hexdigest())
"""


@pytest.mark.long
def test_another_processors_matrix_product_gives_the_same_bytes() -> None:
    """OpenBLAS adds up in another order on each kind of core and with each number of threads."""
    root = Path(__file__).parents[2]
    found = set()
    for core, threads in (("Haswell", "1"), ("Nehalem", "2")):
        paths = os.pathsep.join([str(root), str(root / "toolchain")])
        env = {
            **os.environ,
            "OPENBLAS_CORETYPE": core,
            "OMP_NUM_THREADS": threads,
            "PYTHONPATH": paths,
        }
        found.add(
            subprocess.run(
                [sys.executable, "-c", PRINT_DIGEST],
                env=env,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
    assert len(found) == 1


@pytest.mark.parametrize("rung", range(len(RUNGS)))
def test_image_policies_are_quantised_well(rung: int) -> None:
    rng = np.random.default_rng(0)
    source, frames = cnn(rng), pixels(rng, 60, (2, 11, 11))
    quantized = made(source, frames, RUNGS[rung])
    assert (
        noise_db(
            source.outputs(frames), real_outputs(quantized, integer_outputs(quantized, frames))
        )
        > 25
    )


FUNCTIONS: list[Function] = ["relu", "relu6", "tanh", "sigmoid", "elu"]


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(
    seeds,
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.sampled_from(FUNCTIONS),
    st.integers(-8, 8),
    st.sampled_from(range(len(RUNGS))),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.booleans(),
)
@example(0, [300], "relu", 0, 5, 0.0, False)
@example(0, [64, 64], "tanh", 0, 5, 0.5, True)
@example(1, [128, 64], "relu", 3, 4, 0.5, False)
def test_any_policy_is_quantised_within_the_limits(
    seed: int,
    hidden: list[int],
    function: Function,
    gain: int,
    rung: int,
    power: float,
    squash: bool,
) -> None:
    """Widths are chosen so that the limits hold: a working policy is never refused."""
    rng = np.random.default_rng(seed)
    source = mlp(rng, (5, *hidden, 3), function, squash=squash)
    for node in source.nodes:
        if isinstance(node.op, Dense):
            node.op.weights[:] *= np.exp2(rng.normal(0, 1, (len(node.op.weights), 1)) + gain / 4)
            node.op.bias[:] *= np.float32(2.0**gain)
    obs = observations(rng, 80, 5)
    quantized = made(source, obs, replace(RUNGS[rung], equalize_power=power))
    for node in quantized.nodes:
        if isinstance(node.op, QuantWeighted) and is_wide_layer(
            node, quantized.tensor(node.inputs[0])
        ):
            assert accumulator_bound(node.op, quantized.tensor(node.inputs[0])).max() < 2**24
    real = real_outputs(quantized, integer_outputs(quantized, obs))
    assert np.isfinite(real).all()


SHAPES: dict[str, Callable[[np.random.Generator], tuple[Policy, NDArray[Any]]]] = {
    "relu concat": lambda rng: (
        two_branches(rng, Concat(), "relu", None),
        observations(rng, 300, 5),
    ),
    "relu6 add": lambda rng: (two_branches(rng, Add(), "relu6", "tanh"), observations(rng, 300, 5)),
    "dense": lambda rng: (mlp(rng, (5, 16, 16, 3), "tanh"), observations(rng, 300, 5)),
    "squashed": lambda rng: (mlp(rng, (5, 16, 16, 2), squash=True), observations(rng, 300, 5)),
    "sigmoid": lambda rng: (mlp(rng, (5, 16, 16, 2), "sigmoid"), observations(rng, 300, 5)),
    "image": lambda rng: (cnn(rng), pixels(rng, 64, (2, 11, 11))),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "settings", [RUNGS[0], RUNGS[3], RUNGS[5], FINER], ids=["0", "3", "5", "finer"]
)
def test_what_the_quantiser_makes_runs_alike_everywhere(
    shape: str, settings: QuantSettings
) -> None:
    """0 differing outputs among NumPy, LiteRT and ONNX Runtime, also far outside the calibrated
    range.
    """
    need("ai_edge_litert", "onnxruntime")
    from quarl.emitters.onnx_graph import emit_onnx
    from quarl.emitters.tflite import emit_tflite
    from quarl.runtimes.host import LitertRuntime, NumpyRuntime, OnnxRuntime

    source, obs = SHAPES[shape](np.random.default_rng(11))
    quantized = made(source, obs, settings)
    wilder = obs if quantized.observation.is_pixels else np.concatenate([obs, obs * 30])
    integers = quantize_observations(quantized, wilder)
    integers = integers.astype(np.int8 if quantized.observation.tensor.is_int8 else np.int16)
    expected = NumpyRuntime(quantized).run(integers)
    for runtime in (LitertRuntime(emit_tflite(quantized)), OnnxRuntime(emit_onnx(quantized))):
        np.testing.assert_array_equal(runtime.run(integers), expected)


def test_depthwise_layers_are_rounded_to_the_nearest() -> None:
    rng = np.random.default_rng(0)
    op = depthwise(rng, 3, (2, 2))
    unit = Unit(
        "layer",
        replace(op, weights=op.weights.astype(np.float64), bias=op.bias.astype(np.float64)),
        (INPUT,),
    )
    integers = rng.integers(-128, 128, (20, 5, 5, 3)).astype(np.int32)
    fitted = fit_layer(
        unit,
        LayerInput(integers * 0.1, integers, QuantTensor(np.float32(0.1), 0)),
        None,
        replace(PLAIN, data_rounding=True),
    )
    assert (
        np.abs(fitted.weights * fitted.weight_scale[:, None, None] - op.weights).max()
        <= 0.5001 * fitted.weight_scale.max()
    )


@pytest.mark.parametrize("number", range(len(LADDER)))
def test_a_picture_beside_vectors_is_read_byte_for_byte(number: int) -> None:
    rng = np.random.default_rng(3)
    policy, rows = look(rng), looks(rng, 300)
    calibration = calibrate(rows, policy.contract)
    quantized = quantize(policy, calibration, LADDER[number].settings, number)
    integers = quantize_observations(quantized, rows)
    np.testing.assert_array_equal(integers[:, 3:219], rows[:, 3:219] - 128)
    exact, made = policy.outputs(rows), real_outputs(quantized, integer_outputs(quantized, rows))
    assert np.abs(exact - made).max() < 0.2 * np.ptp(exact)
    assert (exact.argmax(axis=1) == made.argmax(axis=1)).mean() > 0.93


def test_a_normaliser_around_a_picture_is_refused() -> None:
    rng = np.random.default_rng(3)
    policy, rows = look(rng), looks(rng, 30)
    normalizer = Normalizer((0.0,) * 221, (1.0,) * 221, 1e-8, 10.0)
    contract = replace(
        policy.contract, observation=replace(policy.contract.observation, normalizer=normalizer)
    )
    policy = replace(policy, contract=contract)
    with pytest.raises(UnsupportedError, match="holds a picture"):
        quantize(policy, calibrate(rows, contract), LADDER[0].settings, 0)
