"""Wide tensors get as many bits as keep every sum that touches them below 2^24, and no more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarl.graph.policy import INPUT, Activation, Add, Concat, Dense, Flatten, Policy
from quarl.graph.quant_policy import (
    EXACT_FLOAT_BOUND,
    QuantTensor,
    QuantWeighted,
    accumulator_bound,
)
from quarl.quantize.bit_widths import (
    OUTPUT_BITS,
    TABLE_BITS,
    fits_wide,
    fitting_widths,
    output_widths,
)
from quarl.quantize.calibration import calibrate
from quarl.quantize.layer_fit import LayerInput, fit_layer
from quarl.quantize.qparams import plan_tensors, spanning_tensor
from quarl.quantize.quantizer import quantize
from quarl.quantize.settings import QuantSettings
from quarl.quantize.transforms import Unit, run_units, units_of
from tests.support.small_policies import cnn, dense, mlp, observations, pixels, two_branches

INT8 = QuantTensor(np.float32(0.05), 0)
seeds = st.integers(0, 2**32 - 1)


def unit_of(op: Any, name: str = "layer") -> Unit:
    return Unit(
        name,
        replace(op, weights=op.weights.astype(np.float64), bias=op.bias.astype(np.float64)),
        (INPUT,),
    )


def widths_of(
    made: Policy, hidden_bits: int = 12, *, wide_head: bool = True, gain: float = 1.0
) -> dict[str, int]:
    rng = np.random.default_rng(4)
    observation = made.contract.observation
    obs = (
        pixels(rng, 6, observation.shape)
        if observation.is_image
        else gain * rng.normal(0, 1, (200, *observation.shape))
    )
    units = units_of(made)
    values = run_units(units, made.graph_input(obs).astype(np.float64))
    asked = QuantSettings(hidden_bits=hidden_bits, wide_head=wide_head)
    widths = output_widths(units, values, INT8, asked)
    tensors = plan_tensors(units, values, INT8, widths)
    assert fitting_widths(units, tensors, widths) == widths
    return widths


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 400), st.integers(9, 12), st.floats(-12, 12))
def test_what_fits_stays_below_2_to_the_24_after_rounding(
    seed: int, inputs: int, bits: int, bias: float
) -> None:
    rng = np.random.default_rng(seed)
    op = dense(rng, 4, inputs)
    op.bias[:] = rng.normal(0, 2.0**bias, 4)
    unit, tensor = unit_of(op), spanning_tensor(-1.3, 2.0, bits)
    integers = rng.integers(tensor.qmin, tensor.qmax + 1, (50, inputs)).astype(np.int32)
    seen = LayerInput(tensor.dequantize(integers).astype(np.float64), integers, tensor)
    for rounding in (False, True):
        options = QuantSettings(data_rounding=rounding, bias_correction=rounding)
        bound = accumulator_bound(
            fit_layer(unit, seen, None, options),
            tensor,
        ).max()
        if fits_wide(unit, tensor):
            assert bound < EXACT_FLOAT_BOUND
        else:
            assert bound > 0.8 * EXACT_FLOAT_BOUND, "refused with room to spare"


@pytest.mark.parametrize(
    ("op", "fits"),
    [(Flatten(), True), (Activation("tanh"), True), (Concat(), False), (Add(), False)],
)
def test_copies_and_tables_take_any_width_and_joins_none(op: Any, fits: bool) -> None:
    inputs = (INPUT, "other") if isinstance(op, Concat | Add) else (INPUT,)
    assert fits_wide(Unit("u", op, inputs), spanning_tensor(-1, 1, 12)) == fits


def test_what_repeats_one_tensor_has_its_width_and_its_scale() -> None:
    made, rng = mlp(np.random.default_rng(0), (5, 12, 12, 3)), np.random.default_rng(4)
    obs = rng.normal(0, 1, (200, 5)).astype(np.float32)
    plain = QuantSettings(hidden_bits=12, input_bits=12, wide_head=True)
    finer = replace(plain, input_copies=2, head_copies=2)
    quantized = quantize(made, calibrate(obs, made.contract), finer, 5)
    copies = [node for node in quantized.nodes if isinstance(node.op, Concat)]
    assert [node.inputs for node in copies] == [(INPUT,) * 2, ("dense1",) * 2]
    for node in copies:
        assert node.output == quantized.tensor(node.inputs[0])
        assert node.output is not None
        assert node.output.qmax >= 2047


def test_hidden_layers_get_the_bits_asked_for_and_the_head_none() -> None:
    assert widths_of(mlp(np.random.default_rng(0), (5, 12, 12, 3))) == {"dense0": 12, "dense1": 12}
    assert widths_of(mlp(np.random.default_rng(0), (5, 12, 12, 3)), 10) == {
        "dense0": 10,
        "dense1": 10,
    }
    assert widths_of(mlp(np.random.default_rng(0), (5, 12, 12, 3)), 8) == {}


def test_a_larger_layer_gets_fewer_bits() -> None:
    found = [
        widths_of(mlp(np.random.default_rng(0), (5, hidden, 3))).get("dense0", 8)
        for hidden in (32, 100, 300, 700, 3000)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] == 12
    assert found[-1] == 8
    assert len(set(found)) >= 3


def test_functions_and_what_they_read_are_wide_too() -> None:
    assert widths_of(mlp(np.random.default_rng(0), (5, 12, 12, 3), "tanh")) == {
        "dense0": 12, "tanh0": 12, "dense1": 12, "tanh1": 12,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wide_head", "expected"), [(True, {"dense1": TABLE_BITS, "squash": OUTPUT_BITS}), (False, {})]
)
def test_a_squashed_action_is_wide_where_the_head_is(
    wide_head: bool, expected: dict[str, int]
) -> None:
    assert (
        widths_of(mlp(np.random.default_rng(0), (5, 12, 3), squash=True), 8, wide_head=wide_head)
        == expected
    )


def test_a_squashed_action_behind_too_large_a_layer_stays_narrow() -> None:
    assert widths_of(mlp(np.random.default_rng(0), (5, 4000, 3), squash=True), 8) == {}


@pytest.mark.parametrize("join", [Concat(), Add()])
def test_what_is_joined_stays_narrow(join: Any) -> None:
    assert widths_of(two_branches(np.random.default_rng(0), join, "relu", "tanh")) == {
        "right": 12
    }  # a table may read 12 bits


def test_flatten_is_seen_through() -> None:
    found = widths_of(cnn(np.random.default_rng(0)))
    assert found["conv"] == 12
    assert 8 < found["depthwise"] <= 12
    assert "flatten" not in found


def test_planned_tensors_that_do_not_fit_lose_bits_until_they_do() -> None:
    units = units_of(mlp(np.random.default_rng(0), (5, 100, 3)))
    big = spanning_tensor(0, 1, 15)
    assert fitting_widths(units, {INPUT: INT8, "dense0": big, "dense1": INT8}, {"dense0": 15}) == {
        "dense0": 14
    }
    assert fitting_widths(units, {INPUT: INT8, "dense0": big, "dense1": INT8}, {"dense0": 9}) == {}


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(1, 200), st.integers(-6, 6))
def test_every_layer_of_a_wide_policy_keeps_the_bound(seed: int, hidden: int, gain: int) -> None:
    rng = np.random.default_rng(seed)
    made = mlp(rng, (5, hidden, hidden, 3))
    for node in made.nodes:
        if isinstance(node.op, Dense):
            node.op.bias[:] *= np.float32(4.0**gain)
    obs = observations(rng, 60, 5)
    options = QuantSettings(True, True, True, True, 0.5, True, 12, 12)
    quantized = quantize(made, calibrate(obs, made.contract), options, 5)
    for node in quantized.nodes:
        source = quantized.tensor(node.inputs[0])
        if isinstance(node.op, QuantWeighted) and (
            node.output is None or not node.output.is_int8 or not source.is_int8
        ):
            assert accumulator_bound(node.op, source).max() < EXACT_FLOAT_BOUND


@pytest.mark.parametrize(("count", "wide"), [(None, 2), (2, 2), (1, 1), (0, 0)])
def test_some_of_the_last_hidden_activations_are_wide(count: int | None, wide: int) -> None:
    source = mlp(np.random.default_rng(3), (5, 8, 6, 3))
    units = units_of(source)
    obs = observations(np.random.default_rng(4), 50, 5)
    values = run_units(units, source.graph_input(obs).astype(np.float64))
    asked = QuantSettings(hidden_bits=12, wide_head=True, wide_layers=count)
    found = output_widths(units, values, INT8, asked)
    assert sorted(found) == sorted(unit.name for unit in units[:-1])[2 - wide :]
