"""Weights of a dense layer, fitted to the integers that the layer really reads.

The layers before round and clamp, and much of what that does is a function of the observation: a
part of it is linear in the layer's inputs, and other weights undo it.

In: a float layer and what it reads on the calibration. Out: float64 weights, before rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import Dense
from quarl.graph.quant_policy import QuantTensor

# share of the mean variance added to each input's, for what the calibration does not tell
# (compared on four value networks: toolchain/docs/quantizer.md)
REFIT_DAMPING = 0.1


def refit(
    op: Dense, real: NDArray[Any], integers: NDArray[np.int32], tensor: QuantTensor
) -> NDArray[np.float64]:
    """Return float64 [out, in]: the weights that come closest to the float layer's results, by
    least squares around the means; those are the bias correction's.

    Args:
        real: [n, in], what the float layer reads.
        integers: [n, in], the same as the integer layers before make it.
        tensor: what the integers mean.
    """
    weights: NDArray[np.float64] = op.weights.astype(np.float64)
    read = (integers - np.int32(tensor.zero_point)) * np.float64(tensor.scale)
    read = read - read.mean(axis=0)
    wanted = real.astype(np.float64)
    missing = wanted - wanted.mean(axis=0) - read
    covariance = read.T @ read / len(read)
    mean_variance = float(np.trace(covariance)) / len(covariance)
    if mean_variance <= 0:
        return weights
    damped = covariance + REFIT_DAMPING * mean_variance * np.eye(len(covariance))
    change = np.linalg.solve(damped, read.T @ (missing @ weights.T) / len(read))
    return weights + change.T
