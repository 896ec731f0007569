"""Rounding weights to int8: to the nearest, or chosen so that the layer's results on real inputs stay closest.

The second is the column-wise least-squares scheme of GPTQ (Frantar et al., arXiv 2210.17323), written here for per-channel int8:
columns in order of falling input variance, each column's rounding error spread over the columns not yet rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WEIGHT_MAX = 127
DAMPING = 1e-3  # of the mean variance, keeps the inverse of a nearly singular covariance bounded
BIAS_SHARE = 8
BLOCK = 64  # columns rounded before the rest is corrected in one product


def weight_scales(
    weights: NDArray[np.float64], bias: NDArray[np.float64], in_scale: np.float32, accumulator_limit: int
) -> NDArray[np.float32]:
    """Return float32 [out]: the step that lets each channel's largest weight fill int8.

    A channel whose weights are so small that its bias would take more than 1/8 of the accumulator gets the step that makes it 1/8.

    Args:
        weights: float64 [out, in].
        bias: float64 [out], real units.
        accumulator_limit: what |accumulator| must stay below.
    """
    peak: NDArray[np.float64] = np.abs(weights).max(axis=1) / WEIGHT_MAX
    needed = np.abs(bias) * BIAS_SHARE / (np.float64(in_scale) * accumulator_limit)
    scale = np.maximum(peak, needed).astype(np.float32)
    scale = np.where(scale < peak, np.nextafter(scale, np.float32(np.inf)), scale)
    return np.where(scale > 0, scale, np.float32(1)).astype(np.float32)


def round_nearest(weights: NDArray[np.float64], scale: NDArray[np.float32]) -> NDArray[np.int8]:
    """Return int8 [out, in]: each weight [out, in] to the nearest step of its channel."""
    steps = np.rint(weights / scale[:, None].astype(np.float64))
    return np.clip(steps, -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8)


def round_to_data(weights: NDArray[np.float64], scale: NDArray[np.float32], covariance: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return int8 [out, in] that keeps (weights - rounded) covariance (weights - rounded)^T small.

    Args:
        weights: float64 [out, in].
        scale: float32 [out], the step of each channel.
        covariance: float64 [in, in] of the layer's centred inputs (the mean is the bias correction's).
    """
    mean_variance = float(np.trace(covariance)) / len(covariance)
    if mean_variance <= 0:
        return round_nearest(weights, scale)
    order = np.argsort(-np.diag(covariance), kind="stable")
    damped = covariance[np.ix_(order, order)] + DAMPING * mean_variance * np.eye(len(order))
    upper = _inverse_cholesky(damped)
    left = (weights / scale[:, None].astype(np.float64))[:, order]
    rounded = np.empty(left.shape, np.int8)
    for start in range(0, left.shape[1], BLOCK):
        end = min(start + BLOCK, left.shape[1])
        errors = np.empty((len(left), end - start))
        for i in range(start, end):
            rounded[:, i] = np.clip(np.rint(left[:, i]), -WEIGHT_MAX, WEIGHT_MAX)
            errors[:, i - start] = (left[:, i] - rounded[:, i]) / upper[i, i]
            left[:, i + 1 : end] -= np.outer(errors[:, i - start], upper[i, i + 1 : end])
        left[:, end:] -= errors @ upper[start:end, end:]
    result = np.empty_like(rounded)
    result[:, order] = rounded
    return result


def _inverse_cholesky(matrix: NDArray[np.float64]) -> NDArray[Any]:
    """Return the upper triangular U with U^T U = matrix^-1."""
    # matrix^-1 = J L^-T L^-1 J needs no explicit inverse: factor the reversed matrix, invert the triangle.
    from scipy.linalg import solve_triangular

    reversed_factor = np.linalg.cholesky(matrix[::-1, ::-1])
    lower = reversed_factor[::-1, ::-1]  # upper triangular R with matrix = R R^T
    inverse: NDArray[np.float64] = solve_triangular(lower, np.eye(len(matrix)), lower=False)
    return inverse  # R^-1 is upper triangular, and R^-T R^-1 = matrix^-1
