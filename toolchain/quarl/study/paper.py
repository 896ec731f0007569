"""QuaRL's own quantisers, as its code has them: weights alone are rounded, all arithmetic is float.

In: a policy. Out: a float policy whose weights lie on a grid. Step (|min| + |max|) / 2^bits, zero
always on the grid, no clamp; one step for a dense layer, one for each channel of a convolution;
biases and activations stay float (`baseline/new_ptq.py` of the paper's repository).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import Conv2D, Dense, DepthwiseConv2D, Policy


def rounded_as_paper(policy: Policy, bits: int) -> Policy:
    """Return the policy with weights of so many bits in the paper's sense."""
    return _with_weights(policy, lambda op: _on_grid(op, bits))


def rounded_to_half(policy: Policy) -> Policy:
    """Return the policy with every parameter rounded to float16."""
    return _with_weights(
        policy, lambda op: op.weights.astype(np.float16).astype(np.float32), half_bias=True
    )


def _on_grid(op: Any, bits: int) -> NDArray[np.float32]:
    weights = op.weights.astype(np.float64)
    per_channel = isinstance(op, Conv2D | DepthwiseConv2D)
    axes = tuple(range(1, weights.ndim)) if per_channel else None
    low = np.minimum(weights.min(axis=axes, keepdims=True), 0)
    high = np.maximum(weights.max(axis=axes, keepdims=True), 0)
    step = (np.abs(low) + np.abs(high)) / 2**bits
    step = np.where(step > 0, step, 1.0)
    return np.asarray(step * np.rint(weights / step), np.float32)


def _with_weights(policy: Policy, rounding: Any, *, half_bias: bool = False) -> Policy:
    nodes = []
    for node in policy.nodes:
        if isinstance(node.op, Dense | Conv2D | DepthwiseConv2D):
            bias = node.op.bias
            if half_bias:
                bias = bias.astype(np.float16).astype(np.float32)
            node = replace(node, op=replace(node.op, weights=rounding(node.op), bias=bias))
        nodes.append(node)
    return replace(policy, nodes=tuple(nodes))
