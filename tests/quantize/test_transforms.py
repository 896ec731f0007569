"""Units: the same function as the policy's, ReLU joined, and transforms that change numbers but not
decisions.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from quarl.graph.contract import Action, Observation
from quarl.graph.policy import (
    INPUT,
    Activation,
    Add,
    Concat,
    Conv2D,
    Dense,
    Flatten,
    Node,
    Policy,
    linear_chain,
    run_graph,
)
from quarl.quantize.transforms import (
    Unit,
    center_head,
    equalize,
    fold_input,
    run_units,
    units_of,
    with_finer_layers,
)
from tests.support.small_policies import cnn, dense, mlp, pixels, policy, two_branches

seeds = st.integers(0, 2**32 - 1)


def outputs(units: tuple[Unit, ...], x: NDArray[np.float64]) -> NDArray[np.float64]:
    made: NDArray[np.float64] = run_units(units, x)[units[-1].name]
    return made


def assert_same_function(made: Policy, x: NDArray[np.float64]) -> None:
    expected = run_graph(made.nodes, x)[made.nodes[-1].name]
    np.testing.assert_allclose(outputs(units_of(made), x), expected, rtol=1e-12, atol=1e-12)


def many_policies() -> list[Policy]:
    rng = np.random.default_rng(5)
    return [
        mlp(rng, (5, 7, 3)),
        mlp(rng, (5, 7, 3), "elu"),
        mlp(rng, (5, 6, 7, 3), "tanh", squash=True),
        two_branches(rng, Concat(), "relu", "relu6"),
        two_branches(rng, Add(), None, "relu"),
        two_branches(rng, Concat(), "tanh", "relu"),
    ]


@pytest.mark.parametrize("made", many_policies())
def test_units_are_the_same_function_as_the_policy(made: Policy) -> None:
    assert_same_function(made, np.random.default_rng(0).normal(0, 2, (40, 5)))


def test_units_of_an_image_policy_are_the_same_function() -> None:
    made = cnn(np.random.default_rng(1))
    assert_same_function(
        made, made.graph_input(pixels(np.random.default_rng(0), 5, (2, 11, 11))).astype(np.float64)
    )
    assert [(u.name, u.relu_max) for u in units_of(made)] == [
        ("conv", np.inf),
        ("depthwise", 6.0),
        ("flatten", None),
        ("head", None),
    ]


@pytest.mark.parametrize("made", many_policies())
@pytest.mark.parametrize(("inputs", "head"), [(1, 2), (2, 2), (3, 1)])
def test_layers_with_finer_weights_are_the_same_function(
    made: Policy, inputs: int, head: int
) -> None:
    x = np.random.default_rng(0).normal(0, 2, (40, 5))
    units = units_of(made)
    finer = with_finer_layers(units, inputs, head)
    np.testing.assert_allclose(outputs(finer, x), outputs(units, x), rtol=1e-12, atol=1e-12)
    readers = [u for u in finer if u.inputs[0].endswith("/copies")]
    peaks = {u.name: np.abs(u.op.weights).max() for u in units if isinstance(u.op, Dense)}
    assert len(readers) == (inputs > 1) * sum(u.inputs == (INPUT,) for u in units) + (
        head > 1 and isinstance(units[-1].op, Dense)
    )
    for layer in readers:
        assert isinstance(layer.op, Dense)
        copies = len(next(u.inputs for u in finer if u.name == layer.inputs[0]))
        assert np.abs(layer.op.weights).max() == pytest.approx(peaks[layer.name] / copies)


def test_a_layer_that_is_called_as_copies_would_be_stays_itself() -> None:
    rng = np.random.default_rng(0)
    layers = [
        ("a", dense(rng, 6, 5)),
        ("head/copies", dense(rng, 6, 6)),
        ("head", dense(rng, 3, 6)),
    ]
    made = policy(
        linear_chain(layers), Observation((5,), "float32", "vector", ()), Action("discrete", 3)
    )
    x, units = rng.normal(0, 2, (40, 5)), units_of(made)
    finer = with_finer_layers(units, 2, 2)
    assert len({unit.name for unit in finer}) == len(finer)
    np.testing.assert_allclose(outputs(finer, x), outputs(units, x), rtol=1e-12, atol=1e-12)


def test_relu_is_joined_wherever_its_layer_stands() -> None:
    """Breadth-first order, as converters write it: both layers, then both functions."""
    rng = np.random.default_rng(2)
    nodes = (
        Node("a", dense(rng, 4, 5), (INPUT,)),
        Node("b", dense(rng, 4, 5), (INPUT,)),
        Node("ra", Activation("relu"), ("a",)),
        Node("rb", Activation("relu6"), ("b",)),
        Node("sum", Add(), ("ra", "rb")),
        Node("head", dense(rng, 2, 4), ("sum",)),
    )
    made = policy(nodes, Observation((5,), "float32", "vector"), Action("discrete", 2))
    assert [(u.name, u.relu_max) for u in units_of(made)] == [
        ("a", np.inf),
        ("b", 6.0),
        ("sum", None),
        ("head", None),
    ]
    assert_same_function(made, rng.normal(0, 2, (40, 5)))


def test_relu_stays_apart_where_others_read_the_layer_before_it() -> None:
    rng = np.random.default_rng(3)
    nodes = (
        Node("a", dense(rng, 4, 5), (INPUT,)),
        Node("ra", Activation("relu"), ("a",)),
        Node("join", Concat(), ("a", "ra")),
        Node("head", dense(rng, 2, 8), ("join",)),
    )
    made = policy(nodes, Observation((5,), "float32", "vector"), Action("discrete", 2))
    assert [u.relu_max for u in units_of(made)] == [None] * 4
    assert_same_function(made, rng.normal(0, 2, (40, 5)))


def test_a_second_relu_does_not_overwrite_the_first() -> None:
    rng = np.random.default_rng(3)
    layers = [
        ("a", dense(rng, 4, 5, 9.0)),
        ("six", Activation("relu6")),
        ("relu", Activation("relu")),
        ("head", dense(rng, 2, 4)),
    ]
    made = policy(
        linear_chain(layers), Observation((5,), "float32", "vector"), Action("discrete", 2)
    )
    assert_same_function(made, rng.normal(0, 2, (40, 5)))


def test_what_reads_the_observation_besides_dense_layers_reads_it_through_an_identity_layer() -> (
    None
):
    """So that scales per feature and the normaliser can be folded into every reader of the
    observation.
    """
    rng = np.random.default_rng(4)
    nodes = (
        Node("flat", Flatten(), (INPUT,)),
        Node("a", dense(rng, 4, 5), ("flat",)),
        Node("t", Activation("tanh"), ("flat",)),
        Node("join", Concat(), ("a", "t", INPUT)),
        Node("head", dense(rng, 2, 14), ("join",)),
    )
    made = policy(nodes, Observation((5,), "float32", "vector"), Action("discrete", 2))
    assert_same_function(made, rng.normal(0, 2, (40, 5)))
    units = units_of(made)
    readers = [u for u in units if INPUT in u.inputs]
    assert len(readers) == 2
    assert all(isinstance(u.op, Dense) for u in readers)
    assert len({u.name for u in units}) == len(units)


def test_parameters_are_float64_so_that_folding_rounds_once() -> None:
    for unit in units_of(cnn(np.random.default_rng(0))):
        if isinstance(unit.op, Dense | Conv2D):
            assert unit.op.weights.dtype == np.float64


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 6))
def test_centring_keeps_every_decision_and_every_difference(seed: int, actions: int) -> None:
    rng = np.random.default_rng(seed)
    units = units_of(mlp(rng, (4, 9, actions)))
    units[-1].op.bias[:] += 100  # type: ignore[union-attr]
    x = rng.normal(0, 3, (60, 4))
    before, after = outputs(units, x), outputs(center_head(units), x)
    np.testing.assert_allclose(
        after, before - before.mean(axis=1, keepdims=True), rtol=0, atol=1e-6 * np.abs(before).max()
    )
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()


def test_a_head_that_is_not_dense_is_not_centred() -> None:
    units = units_of(mlp(np.random.default_rng(0), (4, 9, 3), squash=True))
    assert center_head(units) == units


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(0, 1))
def test_equalising_keeps_the_outputs(seed: int, power: float) -> None:
    rng = np.random.default_rng(seed)
    units = units_of(mlp(rng, (4, 8, 9, 8, 3)))
    units[0].op.weights[2] = 0  # type: ignore[union-attr]  # a channel that never fires
    units[0].op.bias[2] = -1  # type: ignore[union-attr]
    x = rng.normal(0, 3, (60, 4))
    values = run_units(units, x)
    equal = equalize(units, {u.name: np.abs(values[u.name]).max(axis=0) for u in units}, power)
    before = values[units[-1].name]
    np.testing.assert_allclose(outputs(equal, x), before, rtol=0, atol=1e-6 * np.abs(before).max())


def test_full_equalising_gives_every_live_channel_the_same_peak() -> None:
    rng = np.random.default_rng(0)
    units = units_of(mlp(rng, (4, 8, 3)))
    x = rng.normal(0, 3, (500, 4))
    peaks = run_units(units, x)["dense0"].max(axis=0)
    after = run_units(equalize(units, {u.name: peaks for u in units}, 1.0), x)["dense0"].max(axis=0)
    np.testing.assert_allclose(after, peaks.max(), rtol=1e-9)


@pytest.mark.parametrize(
    "made",
    [
        two_branches(np.random.default_rng(1), Concat(), "relu", "relu"),
        cnn(np.random.default_rng(1)),
    ],
)
def test_equalising_leaves_alone_what_not_only_dense_layers_read(made: Policy) -> None:
    units = units_of(made)
    assert equalize(units, {u.name: np.arange(1.0, 7.0) for u in units}, 1.0) == units


def test_equalising_leaves_the_policys_own_outputs_alone() -> None:
    rng = np.random.default_rng(0)
    layers = [
        ("a", dense(rng, 6, 4)),
        ("relu", Activation("relu")),
        ("head", dense(rng, 3, 6)),
        ("last", Activation("relu")),
    ]
    units = units_of(
        policy(linear_chain(layers), Observation((4,), "float32", "vector"), Action("discrete", 3))
    )
    x = rng.normal(0, 3, (60, 4))
    values = run_units(units, x)
    equal = equalize(units, {u.name: np.abs(values[u.name]).max(axis=0) for u in units}, 1.0)
    np.testing.assert_allclose(outputs(equal, x), values[units[-1].name], rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_folding_the_input_keeps_the_outputs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = units_of(two_branches(rng, Concat(), "relu", "tanh"))
    step, offset = np.exp2(rng.uniform(-10, 10, 5)), rng.normal(0, 100, 5)
    q = rng.integers(-128, 128, (60, 5)).astype(np.float64)
    before = outputs(units, q * step + offset)
    np.testing.assert_allclose(
        outputs(fold_input(units, step, offset), q),
        before,
        rtol=0,
        atol=1e-6 * np.abs(before).max(),
    )
