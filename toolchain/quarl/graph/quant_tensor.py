"""Tensors of a quantised policy: how integers mean real numbers, and how an observation becomes
integers.

Arithmetic: toolchain/docs/decisions/0001-arithmetic.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import QuantizationError

INT8_MIN, INT8_MAX = -128, 127
INT32_BOUND = 1 << 31


@dataclass(frozen=True, slots=True)
class QuantTensor:
    """How a tensor's integers mean numbers: real = scale * (q - zero_point), qmin <= q <= qmax."""

    scale: np.float32
    zero_point: int
    qmin: int = INT8_MIN
    qmax: int = INT8_MAX

    def __post_init__(self) -> None:
        if max(map(abs, (self.zero_point, self.qmin, self.qmax))) >= INT32_BOUND:
            raise QuantizationError(
                f"zero point, lowest and highest integer are ({self.zero_point}, {self.qmin}, "
                f"{self.qmax}): they must lie in int32; the values are too far from zero for their "
                "range"
            )

    @property
    def is_int8(self) -> bool:
        """Whether the integers fit int8; otherwise the tensor is wide."""
        return self.qmin >= INT8_MIN and self.qmax <= INT8_MAX

    @property
    def largest_offset(self) -> int:
        """Largest |q - zero_point|."""
        return max(self.qmax - self.zero_point, self.zero_point - self.qmin)

    def quantize(self, values: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
        """Return int32 integers of real values, clamped; used while calibrating, not on a
        target.
        """
        integers: NDArray[np.int32] = np.clip(
            np.rint(values / self.scale) + self.zero_point, self.qmin, self.qmax
        ).astype(np.int32)
        return integers

    def dequantize(self, integers: NDArray[Any]) -> NDArray[np.float32]:
        """Return float32 real values of integers, one rounding."""
        return (integers.astype(np.int32) - np.int32(self.zero_point)).astype(
            np.float32
        ) * self.scale


@dataclass(frozen=True, slots=True, eq=False)
class ObservationQuantizer:
    """Turns raw observations into the graph's integers, on every target the same way.

    Vectors: q = clamp(round_half_even(float32(x * inv_scale)) + zero_point), per feature; NaN ->
        zero_point, clamped.
    inv_scale float32 [features], zero_point int32 [features]. The normaliser is folded into both.
    Pixels: q = p XOR 0x80 as int8, no arithmetic; inv_scale and zero_point are then empty.
    `tensor` is what the graph's input tensor declares; with one scale per feature its scale is 1
    and the scales sit in the first layer.
    """

    inv_scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    tensor: QuantTensor

    @property
    def is_pixels(self) -> bool:
        """Whether the observation is a uint8 image."""
        return self.inv_scale.size == 0

    def quantize(self, obs: NDArray[Any]) -> NDArray[np.int32]:
        """Return int32 [n, ...] from observations in graph layout, environment units."""
        if self.is_pixels:
            return obs.astype(np.int32) - 128  # what XOR 0x80 makes of a byte read as int8
        q = self.tensor
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # infinity saturates, NaN is caught below
            product = np.rint(obs.astype(np.float32) * self.inv_scale)
        low, high = (
            (q.qmin - self.zero_point).astype(np.float32),
            (q.qmax - self.zero_point).astype(np.float32),
        )
        product = np.where(
            np.isnan(product), np.clip(np.float32(0), low, high), np.clip(product, low, high)
        )
        return product.astype(np.int32) + self.zero_point
