"""Weights and biases as the kernels read them.

The input's zero point goes into the bias, so a kernel multiplies raw integers: bias - zero_point * sum(weights).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import QuantizationError
from quarl.quant_policy import ACCUMULATOR_BOUND, QuantDepthwiseConv2D, QuantTensor, QuantWeighted

STEP = 8  # inputs the DSP kernels take at once
ROWS = 2  # rows that stand together in the DSP layout
MVE_ROWS, MVE_LANES = 4, 16  # the same for MVE, and inputs of a row that stand together


def folded_bias(name: str, op: QuantWeighted, tensor: QuantTensor) -> NDArray[np.int32]:
    """Return int32 [out]: the bias with the input's zero point folded in.

    Raises:
        QuantizationError: a sum of raw integers could leave int32.
    """
    rows = op.weights.astype(np.int64).reshape(len(op.weights), -1)
    bias = op.bias.astype(np.int64) - tensor.zero_point * rows.sum(axis=1)
    bound = np.abs(bias) + np.abs(rows).sum(axis=1) * max(abs(tensor.qmin), abs(tensor.qmax))
    if bound.max() >= ACCUMULATOR_BOUND:
        channel = int(bound.argmax())
        raise QuantizationError(
            f"{name}, channel {channel}: with its zero point folded a sum can reach {bound[channel]:,}, int32 holds less than "
            f"{ACCUMULATOR_BOUND:,}: use fewer inputs in this layer"
        )
    folded: NDArray[np.int32] = bias.astype(np.int32)
    return folded


def portable_weights(op: QuantWeighted) -> NDArray[np.int8]:
    """Return int8 in reading order: [out, in] row by row; a depthwise layer's as [height, width, channels]."""
    if isinstance(op, QuantDepthwiseConv2D):
        return np.ascontiguousarray(op.weights.transpose(1, 2, 0))
    return op.weights.reshape(len(op.weights), -1)


def dsp_weights(op: QuantWeighted) -> NDArray[np.int8]:
    """Return int8 [pairs of rows, words, 2, 4]: four inputs of one row, then of the other; both axes padded with zeros."""
    rows = op.weights.reshape(len(op.weights), -1)
    padded = np.zeros((padded_length(rows.shape[0], ROWS), padded_length(rows.shape[1], STEP)), np.int8)
    padded[: rows.shape[0], : rows.shape[1]] = rows
    return np.ascontiguousarray(padded.reshape(len(padded) // ROWS, ROWS, -1, 4).transpose(0, 2, 1, 3))


def mve_weights(op: QuantWeighted) -> NDArray[np.int8]:
    """Return int8 [fours of rows, blocks, 4, 16]: sixteen inputs of each of four rows; both axes padded with zeros."""
    rows = op.weights.reshape(len(op.weights), -1)
    padded = np.zeros((padded_length(rows.shape[0], MVE_ROWS), padded_length(rows.shape[1], MVE_LANES)), np.int8)
    padded[: rows.shape[0], : rows.shape[1]] = rows
    return np.ascontiguousarray(padded.reshape(len(padded) // MVE_ROWS, MVE_ROWS, -1, MVE_LANES).transpose(0, 2, 1, 3))


def padded_length(length: int, step: int) -> int:
    """Return the next multiple of `step`."""
    return -(-length // step) * step


def pad_rows(values: NDArray[Any], step: int) -> NDArray[Any]:
    """Return a per-channel array [out] with the zeros that a layout adds to the rows."""
    return np.pad(values, (0, padded_length(len(values), step) - len(values)))
