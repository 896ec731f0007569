"""Operations of a quantised policy, one frozen value each.

In: integers and scales. Out: what `QuantPolicy` is made of, and what can be said of one layer
alone.
Arithmetic: toolchain/docs/decisions/0001-arithmetic.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.graph.litert_ops import QuantAdd, QuantAveragePool2D, QuantMean
from quarl.graph.policy import Add, Columns, Concat, Flatten, Function, MaxPool2D, Padding
from quarl.graph.quant_tensor import QuantTensor


@dataclass(frozen=True, slots=True, eq=False)
class QuantDense:
    """acc = bias + sum (q - zero_point of the input) * weights. weights int8 [out, in], bias int32
    [out], multiplier float32 [out].

    With `weight_bits` below 8 no weight is beyond 2^(bits - 1) - 1 either way; of up to 4 bits the
    C runtime stores two in a byte.
    """

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.float32]
    weight_scale: NDArray[np.float32]
    weight_bits: int = 8


@dataclass(frozen=True, slots=True, eq=False)
class QuantConv2D:
    """As QuantDense over patches; weights int8 [out, height, width, in]; padding holds the input's
    zero point.
    """

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.float32]
    weight_scale: NDArray[np.float32]
    stride: tuple[int, int]
    padding: Padding
    weight_bits: int = 8


@dataclass(frozen=True, slots=True, eq=False)
class QuantDepthwiseConv2D:
    """One filter per channel; weights int8 [channels, height, width]."""

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.float32]
    weight_scale: NDArray[np.float32]
    stride: tuple[int, int]
    padding: Padding


TableFunction: TypeAlias = Function
"""A function of the graph, or "identity": another scale."""


@dataclass(frozen=True, slots=True, eq=False)
class QuantTable:
    """An elementwise function as a table: y = table[q - qmin of the input]. table int16 [qmax -
    qmin + 1].
    """

    function: TableFunction
    table: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class QuantMul:
    """A product of two tensors, place by place: acc = (a - zero_point of a) * (b - zero_point of
    b), then the one rescale rule.
    """

    multiplier: float  # a float32


@dataclass(frozen=True, slots=True)
class QuantRescale:
    """The same numbers in integers of another scale: acc = q - zero_point, then the one rescale
    rule.
    """

    multiplier: float  # a float32


QuantWeighted: TypeAlias = QuantDense | QuantConv2D | QuantDepthwiseConv2D
QuantOp: TypeAlias = (
    QuantWeighted
    | QuantTable
    | QuantMul
    | QuantRescale
    | MaxPool2D
    | Flatten
    | Columns
    | Concat
    | Add
    | QuantAveragePool2D
    | QuantMean
    | QuantAdd
)


@dataclass(frozen=True, slots=True)
class QuantNode:
    """One integer operation.

    `output` is None for a wide head only: its result is float32(acc) * multiplier, in real units,
    exact but for that one rounding.
    ReLU has no node: it is the clamp at the zero point of the layer before (qmin == zero_point).
    Flatten, Columns, Concat, Add and both poolings need one scale and zero point for all their
    tensors; the first three copy, so their bounds hold those of their inputs; Add computes a + b -
    zero_point, clamped; poolings are clamped too.
    """

    name: str
    op: QuantOp
    inputs: tuple[str, ...]
    output: QuantTensor | None


def weight_bits(op: QuantWeighted) -> int:
    """Return the bits that one weight has: 2 to 8."""
    return 8 if isinstance(op, QuantDepthwiseConv2D) else op.weight_bits


def stored_bits(op: QuantWeighted) -> int:
    """Return the bits of one weight as the C runtime stores it: 2, 4 for 3 and 4, 8 for more."""
    bits = weight_bits(op)
    return next(stored for stored in (2, 4, 8) if bits <= stored)


def is_wide_layer(node: QuantNode, input_tensor: QuantTensor) -> bool:
    """Whether a weighted node reads or makes a wide tensor, or leaves its accumulators: then its
    sums must stay below 2^24.
    """
    return node.output is None or not node.output.is_int8 or not input_tensor.is_int8


def accumulator_bound(op: QuantWeighted, input_tensor: QuantTensor) -> NDArray[np.int64]:
    """Return int64 [out]: |bias| + sum |w| * max |q - zero_point|, which no accumulator or partial
    sum exceeds.
    """
    sums = np.abs(op.weights.astype(np.int64)).reshape(len(op.weights), -1).sum(axis=1)
    bound: NDArray[np.int64] = np.abs(op.bias.astype(np.int64)) + sums * input_tensor.largest_offset
    return bound
