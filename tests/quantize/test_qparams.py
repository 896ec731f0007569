"""Scales, zero points and widths of tensors: spans hold their range and 0, tables are met where
they bend, joined tensors are one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from quarl.errors import QuantizationError, UnsupportedError
from quarl.graph.contract import Action, Observation
from quarl.graph.policy import (
    INPUT,
    Activation,
    Add,
    Concat,
    Flatten,
    Function,
    Node,
    Op,
    Policy,
    activate,
    linear_chain,
)
from quarl.graph.quant_policy import QuantTensor
from quarl.quantize.qparams import (
    function_tensor,
    plan_tensors,
    spanning_tensor,
    table_input_tensor,
)
from quarl.quantize.transforms import run_units, units_of
from tests.support.small_policies import cnn, conv, dense, mlp, pixels, policy, two_branches

bounds = st.floats(-1e30, 1e30)
widths = st.sampled_from([8, 9, 12, 16])
INPUT_TENSOR = QuantTensor(np.float32(0.05), 0)


@given(bounds, bounds, widths)
@example(0.0, 1e-45, 8)
@example(0.0, 0.0, 16)
@example(-1e-40, 1e-39, 12)
@example(0.0, 255.0, 8)
@example(0.0, 65535.0, 16)
@example(-3.0, -1.0, 8)
def test_spanning_tensors_hold_their_range_and_zero_exactly(a: float, b: float, bits: int) -> None:
    low, high = min(a, b), max(a, b)
    tensor = spanning_tensor(low, high, bits)
    assert tensor.qmax - tensor.qmin == 2**bits - 1
    assert tensor.qmin <= tensor.zero_point <= tensor.qmax
    assert tensor.qmin >= -32768
    assert tensor.qmax <= 32767
    assert 0 < tensor.scale < np.inf
    assert tensor.is_int8 == (bits == 8)
    assert tensor.dequantize(tensor.quantize(np.zeros(1)))[0] == 0
    if low >= 0:
        assert tensor.zero_point == tensor.qmin  # ReLU's clamp is free
    values = np.linspace(low, high, 101)
    back = tensor.dequantize(tensor.quantize(values)).astype(np.float64)
    slack = 2.0**-20 * max(abs(low), abs(high))  # float32 of scale and product
    assert (
        np.abs(back - values)
        <= 0.5 * float(tensor.scale) + slack + 0.5 * float(tensor.scale) * (low < 0 < high)
    ).all()


@given(st.floats(-100, 100), st.floats(-100, 100), widths)
def test_values_inside_come_back_within_half_a_step(a: float, b: float, bits: int) -> None:
    tensor = spanning_tensor(min(a, b), max(a, b), bits)
    low, high = (float(tensor.dequantize(np.array(q))) for q in (tensor.qmin, tensor.qmax))
    values = np.linspace(low, high, 201)
    back = tensor.dequantize(tensor.quantize(values))
    assert np.abs(back - values).max() <= 0.5 * float(tensor.scale) + 2.0**-23 * max(
        abs(low), abs(high)
    )


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("function", ["tanh", "sigmoid"])
def test_functions_of_fixed_range_fill_their_integers(function: Function, bits: int) -> None:
    tensor = function_tensor(function, -0.1, 0.1, bits)
    real = tensor.dequantize(np.array([tensor.qmin, tensor.qmax]))
    floor = -1 if function == "tanh" else 0
    assert real[0] == floor
    assert real[1] == 1 - tensor.scale
    assert tensor.qmin >= -32768
    assert tensor.qmax <= 32767, "the table's entries are int16"
    assert np.log2(tensor.scale) == np.rint(np.log2(tensor.scale))


def test_eight_bit_functions_have_the_scales_every_runtime_knows() -> None:
    assert function_tensor("tanh", 0, 0, 8) == QuantTensor(np.float32(1 / 128), 0)
    assert function_tensor("sigmoid", 0, 0, 8) == QuantTensor(np.float32(1 / 256), -128)


def test_what_a_table_reads_is_clipped_where_the_function_no_longer_feels_it() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 5000), [300.0, -300.0]])
    output = function_tensor("tanh", -1, 1, 8)
    tensor = table_input_tensor("tanh", values, output, 8)

    def error(t: QuantTensor) -> float:
        made = output.dequantize(
            output.quantize(np.tanh(t.dequantize(t.quantize(values)).astype(np.float64)))
        )
        return float(np.square(made - np.tanh(values)).mean())

    assert tensor.scale < 0.2 * spanning_tensor(-300, 300).scale
    assert error(tensor) < 0.2 * error(spanning_tensor(-300, 300))


@given(st.floats(0.01, 50), st.sampled_from(["tanh", "sigmoid", "elu", "relu", "relu6"]))
@settings(max_examples=20, deadline=None)
def test_the_chosen_table_input_is_never_worse_than_the_full_range(
    spread: float, function: Function
) -> None:
    values = np.random.default_rng(1).normal(0.3, spread, 2000)
    results = activate(function, values)
    output = function_tensor(function, float(results.min()), float(results.max()), 8)

    def error(t: QuantTensor) -> float:
        made = output.dequantize(
            output.quantize(activate(function, t.dequantize(t.quantize(values)).astype(np.float64)))
        )
        return float(np.square(made - results).mean())

    assert (
        error(table_input_tensor(function, values, output, 8))
        <= error(spanning_tensor(values.min(), values.max())) + 1e-12
    )


def planned(
    made: Policy, count: int = 200, bits: dict[str, int] | None = None
) -> dict[str, QuantTensor]:
    rng = np.random.default_rng(9)
    observation = made.contract.observation
    obs = (
        pixels(rng, 4, observation.shape)
        if observation.is_image
        else rng.normal(0, 2, (count, *observation.shape))
    )
    units = units_of(made)
    values = run_units(units, made.graph_input(obs).astype(np.float64))
    return plan_tensors(units, values, INPUT_TENSOR, bits or {})


def test_flatten_keeps_its_inputs_tensor() -> None:
    tensors = planned(cnn(np.random.default_rng(0)))
    assert tensors["flatten"] == tensors["depthwise"]


def test_a_flattened_observation_keeps_the_observations_tensor() -> None:
    rng = np.random.default_rng(0)
    made = policy(
        linear_chain([("flatten", Flatten()), ("head", dense(rng, 2, 27))]),
        Observation((3, 3, 3), "uint8", "hwc"),
        Action("discrete", 2),
    )
    assert planned(made)["flatten"] == INPUT_TENSOR


def scale_and_zero(tensor: QuantTensor) -> tuple[float, int]:
    return float(tensor.scale), tensor.zero_point


@pytest.mark.parametrize("join", [Concat(), Add()])
@pytest.mark.parametrize("left", [None, "relu", "tanh", "relu6"])
@pytest.mark.parametrize("right", [None, "relu", "sigmoid"])
def test_joined_tensors_share_scale_and_zero_point(
    join: Op, left: Function | None, right: Function | None
) -> None:
    made = two_branches(np.random.default_rng(3), join, left, right)
    units = units_of(made)
    joined = next(u for u in units if u.name == "join")
    tensors = planned(made)
    assert len({scale_and_zero(tensors[name]) for name in (*joined.inputs, "join")}) == 1
    assert scale_and_zero(tensors["join"]) != scale_and_zero(tensors["head"])


def test_relu_still_clamps_where_its_tensor_is_shared_with_negative_numbers() -> None:
    tensors = planned(two_branches(np.random.default_rng(3), Concat(), "relu", None))
    shared, clamped = tensors["join"], tensors["left"]
    assert shared.zero_point > shared.qmin
    assert clamped == replace(shared, qmin=shared.zero_point)


def test_relu6_still_clamps_where_its_tensor_is_shared_with_larger_numbers() -> None:
    made = two_branches(np.random.default_rng(3), Concat(), "relu6", None)
    made.nodes[0].op.bias[:] = 7  # type: ignore[union-attr]
    made.nodes[2].op.bias[0] = 40  # type: ignore[union-attr]
    clamped = planned(made)["left"]
    assert clamped.qmin == clamped.zero_point
    assert abs(float(clamped.dequantize(np.array(clamped.qmax))) - 6) <= float(clamped.scale) / 2


def test_a_chain_of_joins_spans_what_all_of_it_holds() -> None:
    """The sum of two large opposite branches is small; what joins the sum must still hold the
    branches.
    """
    rng = np.random.default_rng(0)
    first = dense(rng, 4, 5)
    opposite = replace(
        first, weights=-first.weights * np.float32(50), bias=-first.bias * np.float32(50)
    )
    nodes = (
        Node(
            "a",
            replace(
                first, weights=first.weights * np.float32(50), bias=first.bias * np.float32(50)
            ),
            (INPUT,),
        ),
        Node("b", opposite, (INPUT,)),
        Node("sum", Add(), ("a", "b")),
        Node("c", dense(rng, 4, 5), (INPUT,)),
        Node("join", Concat(), ("sum", "c")),
        Node("head", dense(rng, 2, 8), ("join",)),
    )
    made = policy(nodes, Observation((5,), "float32", "vector"), Action("discrete", 2))
    tensors = planned(made)
    values = run_units(
        units_of(made),
        np.random.default_rng(9).normal(0, 2, (200, 5)).astype(np.float32).astype(np.float64),
    )
    assert len({scale_and_zero(tensors[n]) for n in ("a", "b", "sum", "c", "join")}) == 1
    for name in ("a", "b", "c"):
        assert (
            np.abs(
                tensors[name].dequantize(tensors[name].quantize(values[name])) - values[name]
            ).max()
            <= tensors[name].scale
        )


def test_a_join_through_flatten_shares_too() -> None:
    rng = np.random.default_rng(0)
    nodes = (
        Node("conv", conv(rng, 2, (3, 3), 3), (INPUT,)),
        Node("flat", Flatten(), ("conv",)),
        Node("other", conv(rng, 2, (3, 3), 3), (INPUT,)),
        Node("other_flat", Flatten(), ("other",)),
        Node("join", Concat(), ("flat", "other_flat")),
        Node("head", dense(rng, 2, 16), ("join",)),
    )
    tensors = planned(policy(nodes, Observation((4, 4, 3), "uint8", "hwc"), Action("discrete", 2)))
    assert (
        len({scale_and_zero(tensors[n]) for n in ("conv", "flat", "other", "other_flat", "join")})
        == 1
    )


def test_pixels_joined_with_features_are_refused_by_name() -> None:
    rng = np.random.default_rng(0)
    nodes = (
        Node("conv", conv(rng, 2, (1, 1), 3), (INPUT,)),
        Node("join", Concat(), (INPUT, "conv")),
        Node("flat", Flatten(), ("join",)),
        Node("head", dense(rng, 2, 80), ("flat",)),
    )
    with pytest.raises(UnsupportedError, match="join"):
        planned(policy(nodes, Observation((4, 4, 3), "uint8", "hwc"), Action("discrete", 2)))


def test_a_layer_that_never_fires_gets_a_range_its_sums_can_be_rescaled_to() -> None:
    """With a width of 1 for a dead layer of large weights, accumulator times multiplier would leave
    float32's exact integers.
    """
    rng = np.random.default_rng(0)
    made = mlp(rng, (5, 6, 3))
    made.nodes[0].op.weights[:] = np.abs(made.nodes[0].op.weights) * 1e6  # type: ignore[union-attr]
    made.nodes[0].op.bias[:] = -1e9  # type: ignore[union-attr]
    tensor = planned(made)["dense0"]
    largest: NDArray[np.float64] = np.abs(made.nodes[0].op.weights).sum(axis=1) * 10 + 1e9  # type: ignore[union-attr]
    assert largest.max() / tensor.scale < 2**22


@pytest.mark.parametrize("gain", [1e32, 1e300])
def test_results_too_large_for_float32_are_refused_by_name(gain: float) -> None:
    units = units_of(mlp(np.random.default_rng(0), (5, 6, 3)))
    values = {u.name: np.full((20, 3), gain) for u in units}
    values[INPUT] = np.ones((20, 5))
    with pytest.raises(QuantizationError, match="dense0"):
        plan_tensors(units, values, INPUT_TENSOR, {})


def test_widths_are_followed() -> None:
    tensors = planned(mlp(np.random.default_rng(0), (5, 6, 7, 3)), bits={"dense0": 12})
    assert [tensors[n].is_int8 for n in ("dense0", "dense1", "dense2")] == [False, True, True]
    assert tensors["dense0"] == replace(tensors["dense0"], zero_point=0, qmin=0, qmax=4095)


def test_a_table_after_a_wide_layer_reads_all_its_bits() -> None:
    made = mlp(np.random.default_rng(0), (5, 6, 2), squash=True)
    tensors = planned(made, bits={"dense1": 12, "squash": 16})
    assert tensors["dense1"].qmax - tensors["dense1"].qmin == 4095
    assert tensors["squash"] == QuantTensor(np.float32(2.0**-15), 0, -32768, 32767)


def test_functions_alone_are_activations_too() -> None:
    rng = np.random.default_rng(0)
    layers: list[tuple[str, Op]] = [
        ("a", dense(rng, 4, 5)),
        ("elu", Activation("elu")),
        ("head", dense(rng, 2, 4)),
    ]
    tensors = planned(
        policy(linear_chain(layers), Observation((5,), "float32", "vector"), Action("discrete", 2))
    )
    assert tensors["elu"].zero_point > -128


def test_what_reads_a_small_sum_of_large_branches_still_has_room_for_the_branches() -> None:
    """The sum shares the branches' tensor, so the layer after it may meet integers far beyond the
    sums that calibration saw.
    """
    rng = np.random.default_rng(0)
    first = dense(rng, 4, 5)
    huge = np.float32(1e6)
    nodes = (
        Node("a", replace(first, weights=first.weights * huge), (INPUT,)),
        Node("b", replace(first, weights=-first.weights * huge), (INPUT,)),
        Node("sum", Add(), ("a", "b")),
        Node("head", dense(rng, 2, 4), ("sum",)),
    )
    made = policy(nodes, Observation((5,), "float32", "vector"), Action("discrete", 2))
    tensors = planned(made)
    weights: NDArray[np.float32] = made.nodes[-1].op.weights  # type: ignore[union-attr]
    largest = (
        np.abs(weights).sum(axis=1).max() * tensors["sum"].largest_offset * tensors["sum"].scale
    )
    assert largest / tensors["head"].scale < 2**22


@pytest.mark.parametrize("alive", [1e-3, 0.0])
def test_what_reads_an_almost_dead_layer_has_room_for_all_its_integers_can_say(
    alive: float,
) -> None:
    rng = np.random.default_rng(0)
    made = mlp(rng, (5, 6, 4, 3))
    made.nodes[2].op.bias[:] = 1e-6  # type: ignore[union-attr]
    first = made.nodes[0].op
    first.weights[:] *= 1e6 if alive else 1  # type: ignore[union-attr]
    values = first.weights @ np.random.default_rng(9).normal(0, 2, (200, 5)).T  # type: ignore[union-attr]
    first.bias[:] = (alive or -1) - values.max(axis=1)  # type: ignore[union-attr]
    tensors = planned(made)
    weights: NDArray[np.float32] = made.nodes[2].op.weights  # type: ignore[union-attr]
    largest = np.abs(weights).sum(axis=1).max() * 255 * tensors["dense0"].scale
    assert largest / tensors["dense1"].scale < 2**22
