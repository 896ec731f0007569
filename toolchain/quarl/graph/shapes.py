"""Shapes and work of a quantised graph, which its integers alone do not state."""

from __future__ import annotations

from math import prod
from typing import assert_never

from quarl.graph.litert_ops import QuantAdd, QuantAveragePool2D, QuantMean
from quarl.graph.policy import Add, Columns, Concat, Flatten, MaxPool2D, Padding, input_shapes
from quarl.graph.quant_policy import (
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantMul,
    QuantPolicy,
    QuantRescale,
    QuantTable,
)

Shape = tuple[int, ...]


def quant_shapes(policy: QuantPolicy) -> dict[str, Shape]:
    """Return each node's output shape without the batch, `INPUT` included; images are [height,
    width, channels].
    """
    shapes: dict[str, Shape] = input_shapes(policy.contract)
    for node in policy.nodes:
        first = shapes[node.inputs[0]]
        match node.op:
            case QuantDense(weights=weights):
                shapes[node.name] = (weights.shape[0],)
            case (
                QuantConv2D(weights=weights, stride=stride, padding=padding)
                | QuantDepthwiseConv2D(weights=weights, stride=stride, padding=padding)
            ):
                rows, cols = (
                    window_count(first[a], weights.shape[1 + a], stride[a], padding, a)
                    for a in (0, 1)
                )
                shapes[node.name] = (rows, cols, weights.shape[0])
            case (
                MaxPool2D(kernel=kernel, stride=stride, padding=padding)
                | QuantAveragePool2D(kernel=kernel, stride=stride, padding=padding)
            ):
                rows, cols = (
                    window_count(first[a], kernel[a], stride[a], padding, a) for a in (0, 1)
                )
                shapes[node.name] = (rows, cols, first[2])
            case QuantMean(keeps_axes=keeps_axes):
                shapes[node.name] = (1, 1, first[2]) if keeps_axes else (first[2],)
            case QuantTable() | QuantMul() | QuantRescale() | Add() | QuantAdd():
                shapes[node.name] = first
            case Flatten():
                shapes[node.name] = (prod(first),)
            case Columns(shape=shape):
                shapes[node.name] = shape
            case Concat():
                shapes[node.name] = (*first[:-1], sum(shapes[name][-1] for name in node.inputs))
            case other:
                assert_never(other)
    return shapes


def window_count(length: int, kernel: int, stride: int, padding: Padding, axis: int) -> int:
    """Return how many windows fit along one axis."""
    return (length + sum(padding[axis]) - kernel) // stride + 1


def multiply_accumulates(policy: QuantPolicy) -> int:
    """Return the multiply-accumulates of one inference, padding counted, as a dense loop executes
    them.
    """
    shapes = quant_shapes(policy)
    total = 0
    for node in policy.nodes:
        if isinstance(node.op, QuantDense | QuantConv2D | QuantDepthwiseConv2D):
            total += prod(shapes[node.name]) * prod(node.op.weights.shape[1:])
    return total
