"""The NumPy integer reference: runs a QuantPolicy with the one arithmetic, the judge of every other
backend.

Accumulators are computed by floating-point matrix products of integers that stay exact (below 2^24
in float32, 2^53 in float64), so the result does not depend on batch size, blocking or machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from quarl.graph.litert_ops import (
    QuantAdd,
    QuantAveragePool2D,
    QuantMean,
    average_pool,
    scaled_sum,
    spatial_mean,
)
from quarl.graph.policy import (
    INPUT,
    Add,
    Columns,
    Concat,
    Flatten,
    MaxPool2D,
    apply_op,
    im2col,
    max_pool,
    windows_of,
)
from quarl.graph.quant_policy import (
    EXACT_FLOAT_BOUND,
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantMul,
    QuantNode,
    QuantPolicy,
    QuantRescale,
    QuantTable,
    QuantTensor,
    QuantWeighted,
    accumulator_bound,
)
from quarl.graph.rescale import rescale
from quarl.graph.rows import split_rows, state_length, state_parts
from quarl.graph.softmax import softmax

IMAGE_CHUNK = 32  # frames whose patches are held in memory at once


def quantize_observations(policy: QuantPolicy, rows: NDArray[Any]) -> NDArray[np.int32]:
    """Return one step's integers for rows (`quarl.graph.rows`) in environment units: [n,
    *graph_shape], or [n, features + state values] of a recurrent policy.
    """
    obs, state = split_rows(policy.contract, rows)
    integers = policy.observation.quantize(policy.contract.observation.to_graph(obs))
    if not policy.state:
        return integers
    parts = state_parts(policy.contract, state)
    held = [one.tensor.quantize(parts[one.tensor_name]) for one in policy.state]
    return np.concatenate([integers, *held], axis=1)


def start_integers(policy: QuantPolicy) -> NDArray[np.int32]:
    """Return int32 [state values]: all states at the start of an episode."""
    starts = [
        one.tensor.quantize(vector.start)
        for one, vector in zip(policy.state, policy.contract.state, strict=True)
    ]
    return np.concatenate(starts) if starts else np.zeros(0, np.int32)


def run_integers(policy: QuantPolicy, integers: NDArray[np.int32]) -> Mapping[str, NDArray[Any]]:
    """Return every node's result by name: int32 [n, ...], float32 [n, count] for a wide head;
    `INPUT` and the states included.
    """
    integers = integers.astype(np.int32, copy=False)  # int8 overflows in sums and table indices
    length = state_length(policy.contract)
    values: dict[str, NDArray[Any]] = {INPUT: integers}
    if length:
        values[INPUT] = integers[:, :-length]
        values |= state_parts(policy.contract, integers[:, -length:])
    for node in policy.nodes:
        values[node.name] = apply_integer_op(
            node, [values[name] for name in node.inputs], policy.tensor
        )
    return values


def step_results(policy: QuantPolicy, integers: NDArray[np.int32]) -> NDArray[Any]:
    """Return what one step gives for its integers, of the policy's output type: the last node's
    result [n, count], and after it, of a recurrent policy, the next states.
    """
    results = run_integers(policy, integers)
    names = [policy.nodes[-1].name, *(state.next for state in policy.state)]
    parts = [results[name] for name in names]
    return np.concatenate(parts, axis=1).astype(policy.output_dtype)


def integer_outputs(policy: QuantPolicy, rows: NDArray[Any]) -> NDArray[Any]:
    """Return what `step_results` gives for rows (`quarl.graph.rows`) in environment units."""
    results = [
        step_results(policy, quantize_observations(policy, part)) for part in _chunks(policy, rows)
    ]
    return np.concatenate(results)


def real_outputs(policy: QuantPolicy, outputs: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32 [n, count] in real units from a backend's outputs, which have the policy's
    output type; next states behind them are left out.
    """
    last = policy.nodes[-1].output
    outputs = outputs[:, : policy.contract.action.count]
    return outputs.astype(np.float32) if last is None else last.dequantize(outputs)


def probabilities(policy: QuantPolicy, outputs: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32 [n, count] from a backend's outputs, of a policy whose file ended in a
    softmax; outside the exact set.
    """
    assert policy.softmax_beta is not None
    return softmax(real_outputs(policy, outputs), policy.softmax_beta)


def next_integers(policy: QuantPolicy, outputs: NDArray[Any]) -> NDArray[np.int32]:
    """Return int32 [n, values]: the next states in a backend's outputs."""
    return outputs[:, policy.contract.action.count :].astype(np.int32)


def real_state(policy: QuantPolicy, integers: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32 [n, values] of the states' integers."""
    parts = state_parts(policy.contract, integers)
    reals = [one.tensor.dequantize(parts[one.tensor_name]) for one in policy.state]
    return np.concatenate(reals, axis=1) if reals else np.zeros((len(integers), 0), np.float32)


def act(policy: QuantPolicy, rows: NDArray[Any]) -> NDArray[Any]:
    """Return the actions of the quantised policy for rows (`quarl.graph.rows`) in environment
    units.
    """
    return policy.contract.action.decode(real_outputs(policy, integer_outputs(policy, rows)))


def apply_integer_op(node: QuantNode, inputs: list[NDArray[Any]], tensor_of: Any) -> NDArray[Any]:
    """Return one node's result from its inputs' integers; `tensor_of` maps a name to its
    QuantTensor.
    """
    match node.op:
        case QuantDense() | QuantConv2D() | QuantDepthwiseConv2D():
            acc = accumulate(node.op, inputs[0], tensor_of(node.inputs[0]))
            if node.output is None:
                return acc.astype(np.float32) * node.op.multiplier
            return rescale(
                acc, node.op.multiplier, node.output.zero_point, node.output.qmin, node.output.qmax
            )
        case QuantTable(table=table):
            looked_up: NDArray[np.int32] = table[inputs[0] - tensor_of(node.inputs[0]).qmin].astype(
                np.int32
            )
            return looked_up
        case QuantMul() | QuantRescale():
            assert node.output is not None
            return _product(node.op, inputs, [tensor_of(name) for name in node.inputs], node.output)
        case Flatten():
            return inputs[0].reshape(len(inputs[0]), math.prod(inputs[0].shape[1:]))
        case Columns():
            return apply_op(node.op, inputs)
        case Concat():
            return np.concatenate(inputs, axis=-1)
        case MaxPool2D():
            assert node.output is not None
            largest: NDArray[np.int32] = np.clip(
                max_pool(node.op, inputs[0]), node.output.qmin, node.output.qmax
            )
            return largest
        case QuantAveragePool2D():
            assert node.output is not None
            return average_pool(node.op, inputs[0], node.output)
        case QuantMean():
            assert node.output is not None
            return spatial_mean(node.op, inputs[0], tensor_of(node.inputs[0]), node.output)
        case QuantAdd():
            assert node.output is not None
            return scaled_sum(
                node.op, inputs, [tensor_of(name) for name in node.inputs], node.output
            )
        case Add():
            assert node.output is not None
            total: NDArray[np.int32] = np.clip(
                inputs[0] + inputs[1] - node.output.zero_point, node.output.qmin, node.output.qmax
            )
            return total
        case other:
            assert_never(other)


def _product(
    op: QuantMul | QuantRescale,
    inputs: list[NDArray[Any]],
    sources: list[QuantTensor],
    target: QuantTensor,
) -> NDArray[np.int32]:
    """Return int32 of the inputs' shape: their product less their zero points, rescaled."""
    offsets = [x - np.int32(t.zero_point) for x, t in zip(inputs, sources, strict=True)]
    acc = math.prod(offsets[1:], start=offsets[0])
    return rescale(acc, np.float32(op.multiplier), target.zero_point, target.qmin, target.qmax)


def accumulate(op: QuantWeighted, integers: NDArray[Any], tensor: QuantTensor) -> NDArray[Any]:
    """Return the exact accumulators [n, ..., out], bias included, in a float type that holds them
    exactly.
    """
    exact: type[Any] = (
        np.float32 if accumulator_bound(op, tensor).max() < EXACT_FLOAT_BOUND else np.float64
    )
    offsets: NDArray[Any] = (integers - np.int32(tensor.zero_point)).astype(exact)
    weights: NDArray[Any] = op.weights.astype(exact)
    bias: NDArray[Any] = op.bias.astype(exact)
    match op:
        case QuantDense():
            result: NDArray[Any] = offsets @ weights.T + bias
        case QuantConv2D(stride=stride, padding=padding):
            columns, (rows, cols) = im2col(offsets, op.weights.shape[1:3], stride, padding)
            result = (columns @ weights.reshape(len(weights), -1).T + bias).reshape(
                len(integers), rows, cols, len(weights)
            )
        case QuantDepthwiseConv2D(stride=stride, padding=padding):
            windows = windows_of(offsets, op.weights.shape[1:3], stride, padding)
            result = np.einsum("nrcdhw,dhw->nrcd", windows, weights, optimize=True) + bias
        case other:
            assert_never(other)
    return result


def _chunks(policy: QuantPolicy, obs: NDArray[Any]) -> Iterator[NDArray[Any]]:
    size = IMAGE_CHUNK if policy.contract.observation.has_pixels else 8192
    for start in range(0, max(len(obs), 1), size):
        yield obs[start : start + size]
