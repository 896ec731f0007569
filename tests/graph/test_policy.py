"""The float graph: equal to torch, strict about what fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quarl.errors import InputError, UnsupportedError
from quarl.graph.contract import Action, Normalizer, Observation
from quarl.graph.policy import (
    INPUT,
    Activation,
    Add,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Node,
    Op,
    Padding,
    Policy,
    activate,
    apply_op,
    im2col,
    linear_chain,
)
from tests.conftest import need
from tests.support.small_policies import cnn, conv, dense, depthwise, mlp, pixels, policy

VECTOR = Observation((3,), "float32", "vector")
TWO = Action("discrete", 2)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 2), (3, 0))])
@pytest.mark.parametrize("is_depthwise", [False, True])
def test_convolutions_equal_torch(
    stride: tuple[int, int], padding: Padding, is_depthwise: bool
) -> None:
    need("torch")
    import torch

    x = rng().normal(size=(3, 9, 8, 5)).astype(np.float32)
    op: Op = (
        depthwise(rng(), 5, (3, 2), stride, padding)
        if is_depthwise
        else conv(rng(), 4, (3, 2), 5, stride, padding)
    )
    assert isinstance(op, Conv2D | DepthwiseConv2D)
    (top, bottom), (left, right) = padding
    padded = torch.nn.functional.pad(
        torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), (left, right, top, bottom)
    )
    weights = op.weights[:, None] if is_depthwise else op.weights.transpose(0, 3, 1, 2)
    expected = torch.nn.functional.conv2d(
        padded,
        torch.from_numpy(weights.copy()),
        torch.from_numpy(op.bias),
        stride,
        groups=5 if is_depthwise else 1,
    )
    np.testing.assert_allclose(
        apply_op(op, [x]), expected.numpy().transpose(0, 2, 3, 1), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("function", ["relu", "relu6", "tanh", "sigmoid", "elu"])
def test_functions_equal_torch_far_out_and_near_zero(function: Any) -> None:
    need("torch")
    import torch

    x = np.concatenate([np.linspace(-200, 200, 4001), np.linspace(-1e-3, 1e-3, 101)])
    made = activate(function, x)
    torch_function = getattr(torch.nn.functional, function)
    np.testing.assert_allclose(
        made, torch_function(torch.from_numpy(x)).numpy(), rtol=0, atol=1e-15 * 300
    )
    assert activate(function, x.astype(np.float32)).dtype == np.float32


def test_flatten_is_row_major_over_height_width_channels() -> None:
    x = np.arange(24).reshape(1, 2, 3, 4)
    assert apply_op(Flatten(), [x])[0].tolist() == list(range(24))


def test_patches_are_in_the_order_of_the_weights() -> None:
    x = rng().normal(size=(2, 5, 4, 3))
    columns, (rows, cols) = im2col(x, (3, 2), (1, 2), ((0, 0), (0, 0)))
    assert (rows, cols) == (3, 2)
    np.testing.assert_array_equal(columns[1 * 6 + 2 * 2 + 1], x[1, 2:5, 2:4].ravel())


@pytest.mark.parametrize(
    "op", [conv(rng(), 2, (3, 3), 3), depthwise(rng(), 3, (3, 3)), Flatten(), Activation("tanh")]
)
def test_an_empty_batch_gives_an_empty_result(op: Op) -> None:
    assert apply_op(op, [np.zeros((0, 5, 5, 3), np.float32)]).shape[0] == 0


def test_pixels_are_divided_by_255_and_moved_to_channels_last() -> None:
    images = pixels(rng(), 3, (2, 11, 11))
    made = cnn(rng()).graph_input(images)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(
        made, images.transpose(0, 2, 3, 1).astype(np.float32) / np.float32(255)
    )


def test_vectors_go_through_the_normaliser() -> None:
    normalizer = Normalizer((1.0, 2.0, 3.0), (4.0, 9.0, 1e-4), 0.0, 2.0)
    made = mlp(rng(), (3, 4, 2), normalizer=normalizer).graph_input(np.array([[3.0, 5.0, 4.0]]))
    np.testing.assert_array_equal(made, np.array([[1.0, 1.0, 2.0]], np.float32))


def test_a_whole_policy_acts() -> None:
    made = cnn(rng())
    images = pixels(rng(), 5, (2, 11, 11))
    assert made.outputs(images).shape == (5, 4)
    assert (made.act(images) == made.outputs(images).argmax(axis=1)).all()
    assert made.parameter_count == 6 * 24 + 6 + 6 * 9 + 6 + 4 * 90 + 4


def refused(
    nodes: tuple[Node, ...], observation: Observation = VECTOR, action: Action = TWO
) -> Policy:
    return policy(nodes, observation, action)


HEAD = dense(rng(), 2, 3)
IMAGE = Observation((6, 6, 3), "uint8", "hwc")


@pytest.mark.parametrize(
    ("nodes", "observation", "found"),
    [
        ((), VECTOR, "no layers"),
        (linear_chain([("head", dense(rng(), 3, 3))]), VECTOR, r"ends with shape \(3,\)"),
        (linear_chain([("head", dense(rng(), 2, 4))]), VECTOR, "takes 4 inputs, is given shape"),
        ((Node("head", HEAD, ()),), VECTOR, "head: takes 1 input"),
        ((Node("head", HEAD, ("nowhere",)),), VECTOR, "nowhere"),
        ((Node("head", HEAD, ("later",)), Node("later", HEAD, (INPUT,))), VECTOR, "comes later"),
        ((Node("head", HEAD, (INPUT, INPUT)),), VECTOR, "head: takes 1 input"),
        (
            (Node("t", Activation("tanh"), (INPUT, INPUT)), Node("head", HEAD, ("t",))),
            VECTOR,
            "t: takes 1 input",
        ),
        ((Node(INPUT, HEAD, (INPUT,)),), VECTOR, "two layers are called"),
        ((Node("a", HEAD, (INPUT,)), Node("a", HEAD, (INPUT,))), VECTOR, "two layers are called"),
        ((Node("a", Activation("swish"), (INPUT,)), Node("head", HEAD, ("a",))), VECTOR, "swish"),  # type: ignore[arg-type]
        ((Node("a", Add(), (INPUT,)), Node("head", HEAD, ("a",))), VECTOR, "a: takes 2 inputs"),
        (
            (
                Node("b", dense(rng(), 2, 3), (INPUT,)),
                Node("a", Add(), (INPUT, "b")),
                Node("head", HEAD, ("a",)),
            ),
            VECTOR,
            "two equal",
        ),
        (
            linear_chain([("conv", conv(rng(), 2, (3, 3), 3))]),
            VECTOR,
            r"takes \[height, width, 3\]",
        ),
        (
            linear_chain([("conv", conv(rng(), 2, (7, 3), 3))]),
            IMAGE,
            "7x3 window does not fit into 6x6",
        ),
        (linear_chain([("conv", conv(rng(), 2, (3, 3), 3, (0, 1)))]), IMAGE, "conv: stride"),
        (
            linear_chain([("conv", conv(rng(), 2, (3, 3), 3, (1, 1), ((0, 0), (-1, 0))))]),
            IMAGE,
            "conv: .*padding",
        ),
        (
            linear_chain([("conv", conv(rng(), 2, (3, 3), 3, (1, 1), ((0, 0),)))]),
            IMAGE,
            "conv: .*padding",
        ),  # type: ignore[arg-type]
        (linear_chain([("conv", conv(rng(), 2, (3, 3), 3, ("1", 1)))]), IMAGE, "conv: stride"),  # type: ignore[arg-type]
        (linear_chain([("\ud800", HEAD)]), VECTOR, "must be text"),  # half of a character
        (linear_chain([(7, HEAD)]), VECTOR, "must be text"),  # type: ignore[list-item]
        (
            linear_chain([("depthwise", depthwise(rng(), 2, (3, 3)))]),
            IMAGE,
            r"takes \[height, width, 2\]",
        ),
        (
            (
                Node("c", conv(rng(), 2, (3, 3), 3), (INPUT,)),
                Node("j", Concat(), (INPUT, "c")),
                Node("head", HEAD, ("j",)),
            ),
            IMAGE,
            "differ before the last axis",
        ),
        (
            linear_chain([("head", Dense(np.zeros((2, 3), np.float32), np.zeros(3, np.float32)))]),
            VECTOR,
            "do not fit a Dense layer",
        ),
        (
            linear_chain(
                [("head", Dense(np.zeros((2, 3, 1), np.float32), np.zeros(2, np.float32)))]
            ),
            VECTOR,
            "do not fit a Dense layer",
        ),
        (
            linear_chain([("head", Dense(np.zeros((2, 0), np.float32), np.zeros(2, np.float32)))]),
            VECTOR,
            "do not fit a Dense layer",
        ),
    ],
)
def test_a_graph_that_does_not_fit_together_is_refused_by_name(
    nodes: tuple[Node, ...], observation: Observation, found: str
) -> None:
    with pytest.raises(InputError, match=found):
        refused(nodes, observation)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["weights", "bias"])
def test_weights_that_are_no_numbers_are_refused_and_counted(bad: float, field: str) -> None:
    values = getattr(HEAD, field).copy()
    values.ravel()[1] = bad
    with pytest.raises(InputError, match=f"head: 1 of {values.size} {field} are NaN or infinite"):
        refused(linear_chain([("head", replace(HEAD, **{field: values}))]))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int8, ">f4"])
def test_only_float32_is_carried_over(dtype: Any) -> None:
    with pytest.raises(UnsupportedError, match="only float32"):
        refused(linear_chain([("head", replace(HEAD, weights=HEAD.weights.astype(dtype)))]))
