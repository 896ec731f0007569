"""One weighted layer in integers, fitted to its float results on the calibration.

Rounding to the nearest or by least squares (`weight_rounding`), a bias that corrects the mean, and
the multiplier of decision 0001.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import Conv2D, Dense, DepthwiseConv2D, Weighted, apply_op, windows_of
from quarl.graph.quant_policy import (
    EXACT_FLOAT_BOUND,
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantTensor,
    QuantWeighted,
    accumulator_bound,
)
from quarl.graph.rescale import rescale_factor
from quarl.quantize.refit import refit
from quarl.quantize.settings import QuantSettings
from quarl.quantize.transforms import Unit
from quarl.quantize.weight_rounding import (
    DAMPING,
    least_error_share,
    round_nearest,
    round_to_data,
    weight_scales,
)
from quarl.quantize.widths import largest_weight

COVARIANCE_ROWS = 4096  # input rows a layer's covariance is estimated from
NARROW_BIAS_BOUND = 2**24  # of 2^31: leaves the sums room, and keeps int32 -> float32 exact
# layers with more inputs are rounded to the nearest: the covariance would not be known from the
# calibration
COVARIANCE_INPUTS = 1024
# of layers with fewer than 8 bits, which need the fitting more; a strong damping stands for what
# the calibration does not tell
NARROW_INPUTS = 4096
NARROW_DAMPING = 1e-2
# up to here the largest weights are clipped where that lowers the square error: at 4 bits it gained
# on one policy and lost on two
CLIPPED_BITS = 3


@dataclass(frozen=True, slots=True, eq=False)
class LayerInput:
    """What a layer reads on the calibration."""

    real: NDArray[Any]  # float [n, ...], in the float policy
    integers: NDArray[np.int32]  # [n, ...], as the integer layers before produce it
    tensor: QuantTensor  # what the integers mean


def fit_layer(
    unit: Unit,
    seen: LayerInput,
    output: QuantTensor | None,
    settings: QuantSettings,
    bits: int = 8,
) -> QuantWeighted:
    """Return the layer's integers, fitted to its float results on the calibration.

    Args:
        output: None for a wide head.
    """
    assert isinstance(unit.op, Weighted)
    tensor = seen.tensor
    weights: NDArray[np.float64] = unit.op.weights.reshape(len(unit.op.weights), -1).astype(
        np.float64
    )
    if settings.refit and isinstance(unit.op, Dense) and weights.shape[1] <= COVARIANCE_INPUTS:
        weights = refit(unit.op, seen.real, seen.integers, tensor)
    bias: NDArray[np.float64] = unit.op.bias.astype(np.float64)
    is_wide = output is None or not output.is_int8 or not tensor.is_int8
    limit = EXACT_FLOAT_BOUND if is_wide else NARROW_BIAS_BOUND
    most = largest_weight(bits)
    spread = weights
    if bits <= CLIPPED_BITS:
        spread = weights * least_error_share(weights, most)[:, None]
    scale = weight_scales(spread, bias, tensor.scale, limit, most)
    rounded = _rounded(unit.op, weights, scale, seen, bits, is_fitted=settings.data_rounding)
    multiplier = rescale_factor(
        tensor.scale, scale, np.float32(1) if output is None else output.scale
    )
    step = np.float64(tensor.scale) * scale.astype(np.float64)
    if settings.bias_correction:
        bias = _matching_bias(unit.op, rounded, seen, step)
    layer = layer_of(
        unit.op, rounded, np.rint(bias / step).astype(np.int32), multiplier, scale, bits
    )
    if is_wide and accumulator_bound(layer, tensor).max() >= EXACT_FLOAT_BOUND:
        # the widths were chosen for the source's weights, rounded to the nearest: others may be a
        # little larger
        if settings.refit:
            return fit_layer(unit, seen, output, replace(settings, refit=False), bits)
        if settings.data_rounding:
            return fit_layer(unit, seen, output, replace(settings, data_rounding=False), bits)
    return layer


def _rounded(
    op: Weighted,
    weights: NDArray[np.float64],
    scale: NDArray[np.float32],
    seen: LayerInput,
    bits: int,
    *,
    is_fitted: bool,
) -> NDArray[np.int8]:
    """Return int8 [out, in]: fitted to what the layer reads where that is asked for and known well
    enough, else to the nearest.
    """
    most = largest_weight(bits)
    inputs, damping = (NARROW_INPUTS, NARROW_DAMPING) if bits < 8 else (COVARIANCE_INPUTS, DAMPING)
    if not is_fitted or not isinstance(op, Dense | Conv2D) or weights.shape[1] > inputs:
        return round_nearest(weights, scale, most)
    covariance = input_covariance(op, seen.integers, seen.tensor)
    return round_to_data(weights, scale, covariance, most, damping)


def input_covariance(
    op: Weighted, integers: NDArray[np.int32], tensor: QuantTensor
) -> NDArray[np.float64]:
    """Return float64 [in, in]: the covariance of what the layer's weights are multiplied by, from
    at most COVARIANCE_ROWS rows.
    """
    if isinstance(op, Conv2D):
        windows = windows_of(
            integers, op.weights.shape[1:3], op.stride, op.padding, fill=tensor.zero_point
        )
        count = prod(windows.shape[:3])
        every = max(1, count // COVARIANCE_ROWS)
        while gcd(every, count) > 1:  # else the same columns of every image would be taken
            every += 1
        chosen = np.unravel_index(np.arange(0, count, every), windows.shape[:3])
        rows = windows[chosen].transpose(0, 2, 3, 1)
    else:
        rows = integers[:: max(1, len(integers) // COVARIANCE_ROWS)]
    columns = rows.reshape(len(rows), -1) - np.int32(tensor.zero_point)
    return _covariance(columns, tensor.largest_offset)


def _covariance(columns: NDArray[np.int32], largest: int) -> NDArray[np.float64]:
    """Return float64 [in, in]: the covariance of integers [n, in] of at most `largest`, from sums
    that are exact on any machine.
    """
    block = EXACT_FLOAT_BOUND // largest**2  # rows whose products add up exactly in float32
    exact: type[Any] = np.float32 if block > 1 else np.float64
    block = block if block > 1 else len(columns)
    products = np.zeros((columns.shape[1], columns.shape[1]))
    for start in range(0, len(columns), block):
        part = columns[start : start + block].astype(exact)
        products += part.T @ part
    sums = columns.sum(axis=0, dtype=np.int64).astype(np.float64)
    covariance: NDArray[np.float64] = (products * len(columns) - np.outer(sums, sums)) / len(
        columns
    ) ** 2
    return covariance


def _matching_bias(
    op: Weighted,
    rounded: NDArray[np.int8],
    seen: LayerInput,
    step: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return float64 [out]: the bias that makes each channel's mean result equal the float layer's.

    A layer is linear, so its mean result is its result for the mean input.
    """
    mean_real = seen.real.mean(axis=0, keepdims=True, dtype=np.float64)
    mean_integer = seen.integers.mean(axis=0, keepdims=True, dtype=np.float64)
    mean_offset = mean_integer - seen.tensor.zero_point
    without_bias = replace(
        op, weights=rounded.reshape(op.weights.shape).astype(np.float64), bias=np.zeros(len(step))
    )
    exact, made = apply_op(op, [mean_real]), apply_op(without_bias, [mean_offset])
    positions = tuple(range(exact.ndim - 1))
    bias: NDArray[np.float64] = exact.mean(axis=positions) - made.mean(axis=positions) * step
    return bias


def layer_of(
    op: Weighted,
    rounded: NDArray[np.int8],
    bias: NDArray[np.int32],
    multiplier: NDArray[np.float32],
    scale: NDArray[np.float32],
    bits: int,
) -> QuantWeighted:
    """Return the operation's integers: rounded weights [out, in] in the shape of `op`."""
    weights = rounded.reshape(op.weights.shape)
    match op:
        case Dense():
            return QuantDense(weights, bias, multiplier, scale, bits)
        case Conv2D():
            return QuantConv2D(weights, bias, multiplier, scale, op.stride, op.padding, bits)
        case DepthwiseConv2D():
            return QuantDepthwiseConv2D(weights, bias, multiplier, scale, op.stride, op.padding)
