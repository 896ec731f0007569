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
from quarl.graph.policy import INPUT, Add, Concat, Flatten, MaxPool2D, im2col, max_pool, windows_of
from quarl.graph.quant_policy import (
    EXACT_FLOAT_BOUND,
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantNode,
    QuantPolicy,
    QuantTable,
    QuantTensor,
    QuantWeighted,
    accumulator_bound,
)
from quarl.graph.rescale import rescale
from quarl.graph.softmax import softmax

IMAGE_CHUNK = 32  # frames whose patches are held in memory at once


def quantize_observations(policy: QuantPolicy, obs: NDArray[Any]) -> NDArray[np.int32]:
    """Return the graph's integer input [n, *graph_shape] for observations [n, *shape] in
    environment units.
    """
    return policy.observation.quantize(policy.contract.observation.to_graph(obs))


def run_integers(policy: QuantPolicy, integers: NDArray[np.int32]) -> Mapping[str, NDArray[Any]]:
    """Return every node's result by name: int32 [n, ...], float32 [n, count] for a wide head;
    `INPUT` included.
    """
    values: dict[str, NDArray[Any]] = {
        INPUT: integers.astype(np.int32, copy=False)
    }  # int8 would overflow in sums and table indices
    for node in policy.nodes:
        values[node.name] = apply_integer_op(
            node, [values[name] for name in node.inputs], policy.tensor
        )
    return values


def integer_outputs(policy: QuantPolicy, obs: NDArray[Any]) -> NDArray[Any]:
    """Return the last node's result [n, count] for observations in environment units, of the
    policy's output type.
    """
    results = [
        run_integers(policy, quantize_observations(policy, part))[policy.nodes[-1].name]
        for part in _chunks(policy, obs)
    ]
    return np.concatenate(results).astype(policy.output_dtype)


def real_outputs(policy: QuantPolicy, outputs: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32 [n, count] in real units from a backend's outputs, which have the policy's
    output type.
    """
    last = policy.nodes[-1].output
    return outputs.astype(np.float32) if last is None else last.dequantize(outputs)


def probabilities(policy: QuantPolicy, outputs: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32 [n, count] from a backend's outputs, of a policy whose file ended in a
    softmax; outside the exact set.
    """
    assert policy.softmax_beta is not None
    return softmax(real_outputs(policy, outputs), policy.softmax_beta)


def act(policy: QuantPolicy, obs: NDArray[Any]) -> NDArray[Any]:
    """Return the actions of the quantised policy for observations [n, *shape] in environment
    units.
    """
    return policy.contract.action.decode(real_outputs(policy, integer_outputs(policy, obs)))


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
        case Flatten():
            return inputs[0].reshape(len(inputs[0]), math.prod(inputs[0].shape[1:]))
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
    size = IMAGE_CHUNK if policy.contract.observation.is_image else 8192
    for start in range(0, max(len(obs), 1), size):
        yield obs[start : start + size]
