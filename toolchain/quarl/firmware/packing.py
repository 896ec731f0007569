"""Weights and biases as the kernels read them.

The input's zero point goes into the bias, so a kernel multiplies raw integers: bias - zero_point *
sum(weights).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import QuantizationError
from quarl.graph.quant_policy import (
    ACCUMULATOR_BOUND,
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantTensor,
    QuantWeighted,
    stored_bits,
)

GROUP = 4  # rows that share an input
MVE_ROWS, MVE_LANES = 4, 16  # the same for MVE, and inputs of a row that stand together
INT4_BOUND = 2**26  # of a sum of int4 weights: the kernels carry 17 of them in one int32


def folded_bias(name: str, op: QuantWeighted, tensor: QuantTensor) -> NDArray[np.int32]:
    """Return int32 [out]: the bias with the input's zero point folded in.

    Raises:
        QuantizationError: a sum of raw integers could leave int32.
    """
    rows = op.weights.astype(np.int64).reshape(len(op.weights), -1)
    bias = op.bias.astype(np.int64) - tensor.zero_point * rows.sum(axis=1)
    bound = np.abs(bias) + np.abs(rows).sum(axis=1) * max(abs(tensor.qmin), abs(tensor.qmax))
    limit = INT4_BOUND if stored_bits(op) == 4 else ACCUMULATOR_BOUND
    if bound.max() >= limit:
        channel = int(bound.argmax())
        raise QuantizationError(
            f"{name}, channel {channel}: with its zero point folded a sum can reach "
            f"{bound[channel]:,}, the kernel carries less than "
            f"{limit:,}: use fewer inputs in this layer"
            + (", or int8 weights" if limit == INT4_BOUND else "")
        )
    folded: NDArray[np.int32] = bias.astype(np.int32)
    return folded


def depthwise_weights(op: QuantDepthwiseConv2D) -> NDArray[np.int8]:
    """Return int8 [height, width, channels]."""
    return np.ascontiguousarray(op.weights.transpose(1, 2, 0))


def portable_weights(op: QuantDense | QuantConv2D) -> NDArray[np.int8]:
    """Return int8 [groups of four rows, in, 4]; of int4 [groups, in, 2 pairs of rows].

    Rows are padded with zeros.
    """
    rows = _padded(op, GROUP, 1)
    if stored_bits(op) == 4:
        rows = int4_pairs(rows)
        return np.ascontiguousarray(rows.reshape(-1, GROUP // 2, rows.shape[1]).transpose(0, 2, 1))
    return np.ascontiguousarray(rows.reshape(-1, GROUP, rows.shape[1]).transpose(0, 2, 1))


def mve_weights(op: QuantWeighted) -> NDArray[np.int8]:
    """Return int8 [fours of rows, blocks, 4, 16]: sixteen inputs of each of four rows, or of two
    pairs of int4 rows.

    Both axes are padded with zeros.
    """
    padded = _padded(op, MVE_ROWS, MVE_LANES)
    if stored_bits(op) == 4:
        pairs = int4_pairs(padded)
        return np.ascontiguousarray(
            pairs.reshape(len(padded) // MVE_ROWS, MVE_ROWS // 2, -1, MVE_LANES).transpose(
                0, 2, 1, 3
            )
        )
    return np.ascontiguousarray(
        padded.reshape(len(padded) // MVE_ROWS, MVE_ROWS, -1, MVE_LANES).transpose(0, 2, 1, 3)
    )


def int4_pairs(rows: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return int8 [pairs of rows, in]: 16 times the weight of the first row plus that of the
    second; rows [even, in] of -7 to 7.
    """
    return (16 * rows[::2] + rows[1::2]).astype(np.int8)


def padded_length(length: int, step: int) -> int:
    """Return the next multiple of `step`."""
    return -(-length // step) * step


def pad_rows(values: NDArray[Any], step: int) -> NDArray[Any]:
    """Return a per-channel array [out] with the zeros that a layout adds to the rows."""
    return np.pad(values, (0, padded_length(len(values), step) - len(values)))


def _padded(op: QuantWeighted, row_step: int, step: int) -> NDArray[np.int8]:
    """Return int8 [out, in] with both axes padded with zeros to multiples."""
    rows = op.weights.reshape(len(op.weights), -1)
    padded = np.zeros(
        (padded_length(rows.shape[0], row_step), padded_length(rows.shape[1], step)), np.int8
    )
    padded[: rows.shape[0], : rows.shape[1]] = rows
    return padded
