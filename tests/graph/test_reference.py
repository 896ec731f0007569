"""The NumPy reference equals a slow implementation in Python's integers and exact fractions, alone
and in any batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quarl.graph.contract import Observation
from quarl.graph.policy import INPUT, Add, Concat, Flatten
from quarl.graph.quant_policy import (
    EXACT_FLOAT_BOUND,
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantNode,
    QuantPolicy,
    QuantTable,
    QuantTensor,
    accumulator_bound,
)
from quarl.graph.reference import (
    accumulate,
    act,
    integer_outputs,
    quantize_observations,
    real_outputs,
    run_integers,
)
from tests.golden import exact
from tests.support.random_policies import (
    SIGMOID_TENSOR,
    TANH_TENSOR,
    Builder,
    random_integers,
    wide_tensor,
)
from tests.support.small_policies import pixels

PIXELS = QuantTensor(np.float32(1 / 255), -128)
UNEVEN = ((1, 2), (0, 1))


def bits(number: np.float32) -> int:
    return int(number.view(np.uint32))


def windows(
    x: Any, kernel: tuple[int, ...], stride: tuple[int, int], padding: Any
) -> Iterator[tuple[int, int, list[tuple[int, int, int, int]]]]:
    """Yield each output position with the [row, column] of the input under each kernel cell that is
    not padding.
    """
    (top, bottom), (left, right) = padding
    height, width = x.shape[:2]
    for r in range((height + top + bottom - kernel[0]) // stride[0] + 1):
        for c in range((width + left + right - kernel[1]) // stride[1] + 1):
            cells = []
            for i, j in product(range(kernel[0]), range(kernel[1])):
                row, col = r * stride[0] + i - top, c * stride[1] + j - left
                if 0 <= row < height and 0 <= col < width:
                    cells.append((i, j, row, col))
            yield r, c, cells


def slow_accumulators(op: Any, x: Any, zero_point: int) -> dict[tuple[int, ...], int]:
    """Return every accumulator by its index, in Python's integers; padding contributes nothing."""
    sums: dict[tuple[int, ...], int] = {}
    weights, bias = op.weights.astype(int), [int(b) for b in op.bias]
    for o in range(len(weights)):
        match op:
            case QuantDense():
                sums[(o,)] = bias[o] + sum(
                    int(w) * (int(q) - zero_point) for w, q in zip(weights[o], x, strict=True)
                )
            case QuantConv2D():
                for r, c, cells in windows(x, weights.shape[1:3], op.stride, op.padding):
                    sums[(r, c, o)] = bias[o] + sum(
                        int(weights[o, i, j, k]) * (int(x[row, col, k]) - zero_point)
                        for i, j, row, col in cells
                        for k in range(x.shape[2])
                    )
            case QuantDepthwiseConv2D():
                for r, c, cells in windows(x, weights.shape[1:3], op.stride, op.padding):
                    sums[(r, c, o)] = bias[o] + sum(
                        int(weights[o, i, j]) * (int(x[row, col, o]) - zero_point)
                        for i, j, row, col in cells
                    )
    return sums


def slow_node(policy: QuantPolicy, node: QuantNode, inputs: list[Any]) -> Any:
    """Return one node's result for one observation."""
    x, tensor = inputs[0], policy.tensor(node.inputs[0])
    match node.op:
        case QuantDense() | QuantConv2D() | QuantDepthwiseConv2D():
            sums = slow_accumulators(node.op, x, tensor.zero_point)
            result = np.zeros(
                [max(axis) + 1 for axis in zip(*sums, strict=True)],
                np.int64 if node.output else np.float32,
            )
            for index, acc in sums.items():
                multiplier = node.op.multiplier[index[-1]]
                if node.output is None:
                    real = exact.to_float32(
                        exact.value(exact.to_float32(Fraction(acc))) * exact.value(bits(multiplier))
                    )
                    result[index] = np.array(real, np.uint32).view(np.float32)
                else:
                    out = node.output
                    result[index] = exact.rescale(
                        acc, bits(multiplier), out.zero_point, out.qmin, out.qmax
                    )
            return result
        case QuantTable(table=table):
            return np.array([int(table[int(q) - tensor.qmin]) for q in x.ravel()]).reshape(x.shape)
        case Flatten():
            return np.array(
                [
                    x[r, c, k]
                    for r in range(x.shape[0])
                    for c in range(x.shape[1])
                    for k in range(x.shape[2])
                ]
            )
        case Concat():
            return (
                np.array([v for part in inputs for v in part])
                if x.ndim == 1
                else np.concatenate(inputs, axis=2)
            )
        case Add():
            assert node.output is not None
            sums_ = [
                int(a) + int(b) - node.output.zero_point
                for a, b in zip(x.ravel(), inputs[1].ravel(), strict=True)
            ]
            return np.clip(sums_, node.output.qmin, node.output.qmax).reshape(x.shape)
    raise AssertionError(node)


def mlp(rng: np.random.Generator) -> QuantPolicy:
    builder = Builder(rng, (7,))
    builder.dense(9, builder.output(zero_point=-128))
    builder.dense(8, builder.output())
    builder.table("tanh", TANH_TENSOR)
    builder.dense(5, builder.output())
    return builder.build()


def wide_head(rng: np.random.Generator) -> QuantPolicy:
    builder = Builder(rng, (7,))
    builder.dense(9, builder.output(zero_point=-128))
    builder.dense(4, None)
    return builder.build()


def wide_throughout(rng: np.random.Generator) -> QuantPolicy:
    builder = Builder(rng, (5,), wide_tensor(12, 0.01))
    builder.dense(6, QuantTensor(np.float32(0.1), 0, 0, 4095))
    builder.dense(7, wide_tensor(12, 0.02, 100))
    builder.table("tanh", wide_tensor(12, 2.0**-11))
    builder.dense(6, wide_tensor(12, 0.02))
    builder.table("sigmoid", QuantTensor(np.float32(2.0**-16), -32768, -32768, 32767))
    return builder.build()


def branches(rng: np.random.Generator) -> QuantPolicy:
    builder = Builder(rng, (6,))
    shared = builder.output(zero_point=-17)
    left = builder.dense(4, QuantTensor(shared.scale, -17, -17, 90), source=INPUT)
    right = builder.dense(4, shared, source=INPUT)
    total = builder.add(right, left)  # takes the tensor of the first
    builder.concat([total, left, right])
    builder.dense(3, builder.output())
    builder.table("sigmoid", SIGMOID_TENSOR)
    return builder.build()


def image(rng: np.random.Generator) -> QuantPolicy:
    builder = Builder(rng, (7, 6, 3), PIXELS)
    builder.window("conv", 4, (3, 2), (2, 1), UNEVEN, builder.output(zero_point=-128))
    first = builder.window(
        "depthwise", 4, (3, 3), (1, 2), ((2, 0), (1, 1)), builder.output(zero_point=-5)
    )
    second = builder.table("relu", builder.tensors[first])  # type: ignore[arg-type]
    builder.concat([first, second])
    builder.add(builder.newest, builder.newest)
    builder.flatten()
    builder.dense(3, builder.output())
    return builder.build()


def wide_image(rng: np.random.Generator) -> QuantPolicy:
    builder = Builder(rng, (6, 6, 2), PIXELS)
    builder.window("conv", 3, (3, 3), (1, 1), UNEVEN, wide_tensor(11, 0.01))
    builder.window("depthwise", 3, (2, 2), (2, 2), ((0, 1), (1, 0)), wide_tensor(10, 0.02))
    builder.flatten()
    builder.dense(3, None)
    return builder.build()


def average_pool(rng: np.random.Generator) -> QuantPolicy:
    builder = Builder(rng, (6, 6, 3), PIXELS)
    builder.window("depthwise", 3, (2, 2), (2, 2), ((0, 0), (0, 0)), builder.output())
    builder.flatten()
    builder.dense(3, builder.output())
    return builder.build()


KINDS = [mlp, wide_head, wide_throughout, branches, image, wide_image, average_pool]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", KINDS)
def test_every_node_equals_exact_integers_and_fractions(make: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    policy = make(rng)
    integers = random_integers(policy, rng, 4)
    made = run_integers(policy, integers.astype(np.int32))
    for row, one in enumerate(integers):
        values: dict[str, Any] = {INPUT: one}
        for node in policy.nodes:
            values[node.name] = slow_node(policy, node, [values[name] for name in node.inputs])
            np.testing.assert_array_equal(
                made[node.name][row], values[node.name], err_msg=node.name
            )


@pytest.mark.parametrize("make", KINDS)
def test_a_row_is_the_same_alone_and_in_any_batch(make: Any) -> None:
    rng = np.random.default_rng(7)
    policy = make(rng)
    observation = policy.contract.observation
    obs = (
        pixels(rng, 70, observation.shape)
        if observation.is_image
        else rng.normal(0, 1, (70, *observation.shape)).astype(np.float32)
    )
    together = integer_outputs(policy, obs)
    alone = np.concatenate([integer_outputs(policy, obs[i : i + 1]) for i in range(len(obs))])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[::-1], integer_outputs(policy, obs[::-1]))
    assert together.dtype == policy.output_dtype


@pytest.mark.parametrize("make", KINDS)
def test_no_observations_give_no_outputs(make: Any) -> None:
    policy = make(np.random.default_rng(0))
    outputs = integer_outputs(policy, np.zeros((0, *policy.contract.observation.shape), np.float32))
    assert outputs.shape == (0, policy.contract.action.count)
    assert outputs.dtype == policy.output_dtype


@pytest.mark.parametrize("make", KINDS)
def test_integers_of_the_artifacts_own_type_give_the_same(make: Any) -> None:
    """int8 must not overflow in sums and table indices."""
    rng = np.random.default_rng(1)
    policy = make(rng)
    narrow = random_integers(policy, rng, 40)
    a, b = run_integers(policy, narrow), run_integers(policy, narrow.astype(np.int32))
    for name in b:
        np.testing.assert_array_equal(a[name], b[name])


def test_an_add_of_the_observation_does_not_overflow_int8() -> None:
    builder = Builder(np.random.default_rng(0), (3,), QuantTensor(np.float32(1), -100))
    builder.add(INPUT, INPUT)
    policy = builder.build()
    made = run_integers(policy, np.full((1, 3), 100, np.int8))
    assert made[policy.nodes[-1].name].tolist() == [[127] * 3]


def test_sums_beyond_float32_stay_exact() -> None:
    """3,000 inputs at the ends of the range: the accumulators need 27 bits."""
    rng = np.random.default_rng(0)
    op = QuantDense(
        rng.choice(np.array([-127, 127], np.int8), (5, 3000)),
        np.array([2**30, -1, 0, 1, 7], np.int32),
        np.full(5, 1e-6, np.float32),
        np.ones(5, np.float32),
    )
    tensor = QuantTensor(np.float32(1), 127)
    assert accumulator_bound(op, tensor).max() > EXACT_FLOAT_BOUND
    integers: NDArray[np.int32] = np.where(
        rng.random((4, 3000)) < 0.5, -128, rng.integers(-128, 128, (4, 3000))
    ).astype(np.int32)
    expected = (integers.astype(np.int64) - 127) @ op.weights.astype(np.int64).T + op.bias
    np.testing.assert_array_equal(accumulate(op, integers, tensor).astype(np.int64), expected)


def test_padding_counts_as_the_zero_point_not_as_integer_zero() -> None:
    op = QuantConv2D(
        np.ones((1, 1, 1, 1), np.int8),
        np.zeros(1, np.int32),
        np.ones(1, np.float32),
        np.ones(1, np.float32),
        (1, 1),
        ((1, 1), (1, 1)),
    )
    acc = accumulate(op, np.full((1, 1, 1, 1), 5, np.int32), QuantTensor(np.float32(1), -100))
    assert acc[0, :, :, 0].tolist() == [[0, 0, 0], [0, 105, 0], [0, 0, 0]]


def test_outputs_become_real_by_the_last_tensor_and_actions_by_the_contract() -> None:
    policy = mlp(np.random.default_rng(0))
    obs = np.random.default_rng(1).normal(0, 1, (20, 7))
    outputs = integer_outputs(policy, obs)
    last = policy.nodes[-1].output
    assert last is not None
    real = real_outputs(policy, outputs)
    np.testing.assert_array_equal(
        real, ((outputs.astype(np.int32) - last.zero_point) * last.scale).astype(np.float32)
    )
    np.testing.assert_array_equal(act(policy, obs), outputs.argmax(axis=1))


def test_a_wide_heads_outputs_are_real_already() -> None:
    policy = wide_head(np.random.default_rng(0))
    outputs = integer_outputs(policy, np.random.default_rng(1).normal(0, 1, (20, 7)))
    assert outputs.dtype == np.float32
    np.testing.assert_array_equal(real_outputs(policy, outputs), outputs)


def test_channels_first_observations_are_turned_before_they_are_quantised() -> None:
    policy = image(np.random.default_rng(0))
    chw = replace(
        policy,
        contract=replace(policy.contract, observation=Observation((3, 7, 6), "uint8", "chw")),
    )
    frames = pixels(np.random.default_rng(2), 5, (7, 6, 3))
    expected = quantize_observations(policy, frames)
    np.testing.assert_array_equal(
        quantize_observations(chw, frames.transpose(0, 3, 1, 2)), expected
    )
