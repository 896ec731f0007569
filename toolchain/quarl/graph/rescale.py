"""The one rescale rule of every target (toolchain/docs/decisions/0001-arithmetic.md).

multiplier = float32(float32(in_scale * weight_scale) / out_scale)    once, never again
y          = clamp(round_half_even(float32(float32(acc) * multiplier)) + zero_point, qmin, qmax)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def rescale_factor(
    in_scale: np.float32, weight_scale: NDArray[np.float32], out_scale: np.float32
) -> NDArray[np.float32]:
    """Return the float32 factor [out] each channel's accumulator is multiplied by, rounded twice,
    left to right.

    Args:
        weight_scale: float32 [out], > 0.
    """
    return (
        (np.float32(in_scale) * weight_scale.astype(np.float32)).astype(np.float32)
        / np.float32(out_scale)
    ).astype(np.float32)


def product_factor(scales: Sequence[np.float32], out_scale: np.float32) -> np.float32:
    """Return the float32 factor that a product of integers of one or two scales is multiplied by,
    rounded after each step, left to right.
    """
    product = np.float32(1)
    for scale in scales:
        product = np.float32(product * np.float32(scale))
    return np.float32(product / np.float32(out_scale))


def rescale(
    acc: NDArray[Any],
    multiplier: NDArray[np.float32] | np.float32,
    zero_point: int,
    qmin: int,
    qmax: int,
) -> NDArray[np.int32]:
    """Return int32 [..., out] from accumulators [..., out] that hold exact integers (any numeric
    type) below 2^31.
    """
    product = acc.astype(
        np.float32
    )  # int32 -> float32 rounds half even, which matters beyond 2^24 only
    product *= multiplier
    np.rint(product, out=product)
    np.clip(product, np.float32(qmin - zero_point), np.float32(qmax - zero_point), out=product)
    return product.astype(np.int32) + np.int32(zero_point)
