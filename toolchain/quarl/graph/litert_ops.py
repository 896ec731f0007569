"""Operations that only int8 files of others have, each exactly as LiteRT computes it: average
pooling, spatial mean, sums of any scales.

In: scales and integers. Out: the integers LiteRT gives for them (decision 0001, section "Operations
of other files").
They have an arithmetic of their own beside the one rescale rule: the quantiser writes none of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import Padding, windows_of
from quarl.graph.quant_tensor import QuantTensor

ADD_BITS = 20  # of the larger multiplier of a sum
ADD_RATIOS = (
    2.0**-10,
    2.0**8,
)  # in_scale / out_scale; beyond them LiteRT computes sums in another way


@dataclass(frozen=True, slots=True)
class QuantAveragePool2D:
    """The mean of the integers under each window, padding not counted, rounded half away from zero.
    int8, one scale and zero point.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding


@dataclass(frozen=True, slots=True)
class QuantMean:
    """The mean over height and width: round_half_even(float32(float32(acc * multiplier) +
    zero_point)).

    acc = sum (q - zero_point of the input). The output's zero point is added before the rounding,
    so which way a tie falls depends on it.
    """

    multiplier: float  # a float32
    keeps_axes: bool  # [1, 1, channels], otherwise [channels]


@dataclass(frozen=True, slots=True)
class QuantAdd:
    """A sum of two tensors of any scales: floor((a * left + b * right) / 2^shift + 1/2) +
    zero_point, a and b without their zero points.
    """

    left: int
    right: int
    shift: int


def mean_multiplier(source: QuantTensor, target: QuantTensor, count: int) -> float:
    """Return the factor of a mean over `count` numbers, rounded to float32 twice."""
    return float(np.float32(np.float32(source.scale / target.scale) / np.float32(count)))


def add_multipliers(a: QuantTensor, b: QuantTensor, target: QuantTensor) -> QuantAdd | None:
    """Return the integers of a sum; None where LiteRT computes it in another way."""
    ratios = [float(np.float32(tensor.scale / target.scale)) for tensor in (a, b)]
    if not all(ADD_RATIOS[0] <= ratio < ADD_RATIOS[1] for ratio in ratios):
        return None
    shift = ADD_BITS - math.floor(math.log2(max(ratios)))
    left, right = (int(np.rint(ratio * 2.0**shift)) for ratio in ratios)
    return QuantAdd(left, right, shift)


def average_pool(
    op: QuantAveragePool2D, x: NDArray[np.int32], target: QuantTensor
) -> NDArray[np.int32]:
    """Return int32 [n, rows, cols, channels] from integers [n, height, width, channels]."""
    total = windows_of(x, op.kernel, op.stride, op.padding).sum(axis=(-1, -2), dtype=np.int64)
    count = pool_counts(op, x.shape[1:3])[None, :, :, None]
    rounded = np.where(total > 0, (total + count // 2) // count, -((count // 2 - total) // count))
    result: NDArray[np.int32] = np.clip(rounded, target.qmin, target.qmax).astype(np.int32)
    return result


def pool_counts(op: QuantAveragePool2D, size: tuple[int, ...]) -> NDArray[np.int64]:
    """Return int64 [rows, cols]: how many numbers of an image of this height and width lie under
    each window.
    """
    ones = np.ones((1, *size, 1), np.int64)
    counts: NDArray[np.int64] = windows_of(ones, op.kernel, op.stride, op.padding).sum(
        axis=(-1, -2)
    )[0, :, :, 0]
    return counts


def spatial_mean(
    op: QuantMean, x: NDArray[np.int32], source: QuantTensor, target: QuantTensor
) -> NDArray[np.int32]:
    """Return int32 [n, channels] or [n, 1, 1, channels] from integers [n, height, width,
    channels].
    """
    acc = (x - np.int32(source.zero_point)).sum(axis=(1, 2), keepdims=op.keeps_axes, dtype=np.int64)
    product = acc.astype(np.float32) * np.float32(op.multiplier) + np.float32(target.zero_point)
    result: NDArray[np.int32] = np.clip(np.rint(product), target.qmin, target.qmax).astype(np.int32)
    return result


def scaled_sum(
    op: QuantAdd, inputs: list[NDArray[Any]], sources: list[QuantTensor], target: QuantTensor
) -> NDArray[np.int32]:
    """Return int32 of the inputs' shape from two tensors' integers."""
    a, b = (
        x.astype(np.int64) - tensor.zero_point for x, tensor in zip(inputs, sources, strict=True)
    )
    total = ((a * op.left + b * op.right + (1 << (op.shift - 1))) >> op.shift) + target.zero_point
    result: NDArray[np.int32] = np.clip(total, target.qmin, target.qmax).astype(np.int32)
    return result
