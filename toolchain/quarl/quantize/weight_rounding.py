"""Rounding weights to 2 to 8 bits: to the nearest, or chosen so that the layer's results on real
inputs stay closest.

The second is the column-wise least-squares scheme of GPTQ (Frantar et al., arXiv 2210.17323),
written here for per-channel steps:
columns in order of falling input variance, each column's rounding error spread over the columns not
yet rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WEIGHT_MAX = 127  # of 8 bits; -8 of 4 bits is left out too, so that two of them fit one byte
DAMPING = 1e-3  # of the mean variance, keeps the inverse of a nearly singular covariance bounded
BIAS_SHARE = 8
LEAST_SHARE = 2.0**-24  # of the layer's largest step
SMALLEST, ZERO_LAYER = (
    2.0**-100,
    2.0**-40,
)  # in_scale * step: below the first a layer is all zeros, and then any step of usual size will do
SHRINKS = np.linspace(1.0, 0.3, 36)  # shares of the largest weight tried as a channel's range
BLOCK = 64  # columns rounded before the rest is corrected in one product


def weight_scales(
    weights: NDArray[np.float64],
    bias: NDArray[np.float64],
    in_scale: np.float32,
    accumulator_limit: int,
    weight_max: int = WEIGHT_MAX,
) -> NDArray[np.float32]:
    """Return float32 [out]: the step that lets each channel's largest weight become `weight_max`.

    A channel whose weights are so small that its bias would take more than 1/8 of the accumulator
    gets the step that makes it 1/8.
    No step is below 2^-24 of the layer's largest: what weight decay leaves of a dead channel needs
    no denormal multiplier.

    Args:
        weights: float64 [out, in].
        bias: float64 [out], real units.
        accumulator_limit: what |accumulator| must stay below.
    """
    return channel_steps(
        np.abs(weights).max(axis=1) / weight_max, bias, in_scale, accumulator_limit
    )


def channel_steps(
    least: NDArray[np.float64],
    bias: NDArray[np.float64],
    in_scale: np.float32,
    accumulator_limit: int,
) -> NDArray[np.float32]:
    """Return float32 [out]: the step of each channel, as `weight_scales` says, from the least that
    its weights allow [out].
    """
    needed = np.abs(bias) * BIAS_SHARE / (np.float64(in_scale) * accumulator_limit)
    wanted: NDArray[np.float64] = np.maximum(
        np.maximum(least, needed), max(least.max() * LEAST_SHARE, SMALLEST / float(in_scale))
    )
    wanted = np.where(wanted > SMALLEST / float(in_scale), wanted, ZERO_LAYER / float(in_scale))
    scale = wanted.astype(np.float32)
    return np.where(scale < wanted, np.nextafter(scale, np.float32(np.inf)), scale)


def least_error_share(weights: NDArray[np.float64], weight_max: int) -> NDArray[np.float64]:
    """Return float64 [out]: the share of each channel's largest weight that is worth `weight_max`
    steps, with the least square error of rounding to the nearest.

    Args:
        weights: float64 [out, in].
    """
    peak = np.maximum(np.abs(weights).max(axis=1, keepdims=True), SMALLEST)
    unit = weights / peak
    best, least = np.ones(len(weights)), np.full(len(weights), np.inf)
    for share in SHRINKS:
        step = share / weight_max
        rounded = np.clip(np.rint(unit / step), -weight_max, weight_max) * step
        error = np.square(rounded - unit).sum(axis=1)
        best, least = np.where(error < least, share, best), np.minimum(error, least)
    return best


def round_nearest(
    weights: NDArray[np.float64], scale: NDArray[np.float32], weight_max: int = WEIGHT_MAX
) -> NDArray[np.int8]:
    """Return int8 [out, in]: each weight [out, in] to the nearest step of its channel, at most
    `weight_max` of them.
    """
    steps = np.rint(weights / scale[:, None].astype(np.float64))
    return np.clip(steps, -weight_max, weight_max).astype(np.int8)


def round_to_data(
    weights: NDArray[np.float64],
    scale: NDArray[np.float32],
    covariance: NDArray[np.float64],
    weight_max: int = WEIGHT_MAX,
    damping: float = DAMPING,
) -> NDArray[np.int8]:
    """Return int8 [out, in] that keeps (weights - rounded) covariance (weights - rounded)^T small,
    in no channel larger than nearest does.

    Args:
        weights: float64 [out, in].
        scale: float32 [out], the step of each channel.
        covariance: float64 [in, in] of the layer's centred inputs (the mean is the bias
            correction's).
        damping: share of the mean variance added to each, for what the calibration did not show.
    """
    nearest = round_nearest(weights, scale, weight_max)
    mean_variance = float(np.trace(covariance)) / len(covariance)
    if mean_variance <= 0:
        return nearest
    order = np.argsort(-np.diag(covariance), kind="stable")
    damped = covariance[np.ix_(order, order)] + damping * mean_variance * np.eye(len(order))
    upper = _inverse_cholesky(damped)
    steps = weights / scale[:, None].astype(np.float64)
    left = steps[:, order]
    rounded = np.empty(left.shape, np.int8)
    for start in range(0, left.shape[1], BLOCK):
        end = min(start + BLOCK, left.shape[1])
        errors = np.empty((len(left), end - start))
        for i in range(start, end):
            rounded[:, i] = np.clip(np.rint(left[:, i]), -weight_max, weight_max)
            errors[:, i - start] = (left[:, i] - rounded[:, i]) / upper[i, i]
            left[:, i + 1 : end] -= np.outer(errors[:, i - start], upper[i, i + 1 : end])
        left[:, end:] -= errors @ upper[start:end, end:]
    fitted = np.empty_like(rounded)
    fitted[:, order] = rounded
    is_better = _error(steps - fitted, covariance) < _error(steps - nearest, covariance)
    return np.where(is_better[:, None], fitted, nearest)


def _error(difference: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64 [out]: the mean square of what a difference of weights [out, in], in steps,
    does to the results.
    """
    error: NDArray[np.float64] = ((difference @ covariance) * difference).sum(axis=1)
    return error


def _inverse_cholesky(matrix: NDArray[np.float64]) -> NDArray[Any]:
    """Return the upper triangular U with U^T U = matrix^-1."""
    # matrix^-1 = J L^-T L^-1 J needs no explicit inverse: factor the reversed matrix, invert the
    # triangle.
    reversed_factor = np.linalg.cholesky(matrix[::-1, ::-1])
    lower = reversed_factor[::-1, ::-1]  # upper triangular R with matrix = R R^T
    inverse: NDArray[np.float64] = np.linalg.solve(lower, np.eye(len(matrix)))
    return inverse  # R^-1 is upper triangular, and R^-T R^-1 = matrix^-1
