"""Softmax, outside the exact set: probabilities of a policy whose file ended in one, in float32,
the same on the host and on a device.

In: outputs in real units. Out: float32 probabilities. The integers never see it: an argmax decides
alike before and after. Every step is one float32 rounding in a stated order, as
firmware_harness/kernels/ql_softmax_f32.c does it, so both give the same bits; LiteRT's own int8
SOFTMAX is another arithmetic and gives the same within a step of 1/256.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = np.float32
SMALLEST = F32(-87)  # its exponential is the last that is not denormal
LOG2_E = F32(1.44269504)
LN2_HIGH, LN2_LOW = (
    F32(0.693359375),
    F32(-2.12194440e-4),
)  # the first has so few bits that its multiples are exact
COEFFICIENTS = tuple(map(F32, (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1, 1)))


def softmax(values: NDArray[Any], beta: float) -> NDArray[np.float32]:
    """Return float32 [n, count]: probabilities of outputs [n, count] in real units."""
    scaled = (values.astype(F32) - values.astype(F32).max(axis=1, keepdims=True)) * F32(beta)
    powers = exponential(scaled)
    total = np.zeros(len(powers), F32)
    for column in powers.T:  # one after another: the order of a sum decides its last bit
        total = total + column
    result: NDArray[np.float32] = powers / total[:, None]
    return result


def exponential(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 e^x of x <= 0, within three units of the last place; 0 below SMALLEST."""
    whole = np.trunc(x * LOG2_E - F32(0.5))
    rest = x - whole * LN2_HIGH
    rest = rest - whole * LN2_LOW
    power = np.full(x.shape, COEFFICIENTS[0], F32)
    for coefficient in COEFFICIENTS[1:]:
        power = power * rest + coefficient
    bits = (np.maximum(whole, F32(-126)).astype(np.int32) + 127) << 23
    result: NDArray[np.float32] = np.where(x < SMALLEST, F32(0), power * bits.view(F32)).astype(F32)
    return result
