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
EIGHT, WORD = 8, 4  # inputs whose 2-bit weights of two rows fill a word; its bytes
MVE_ROWS, MVE_LANES = 4, 16  # the same for MVE, and inputs of a row that stand together
# of a layer's sums, by the bits of its weights: the kernels carry 17 sums of 4-bit weights in one
# int32; of 2-bit weights 64 of them
BOUNDS = {8: ACCUMULATOR_BOUND, 4: 2**26, 2: 2**25}


def folded_bias(name: str, op: QuantWeighted, tensor: QuantTensor) -> NDArray[np.int32]:
    """Return int32 [out]: the bias with the input's zero point folded in.

    Raises:
        QuantizationError: a sum of raw integers could leave int32.
    """
    rows = op.weights.astype(np.int64).reshape(len(op.weights), -1)
    bias = op.bias.astype(np.int64) - tensor.zero_point * rows.sum(axis=1)
    bound = np.abs(bias) + np.abs(rows).sum(axis=1) * max(abs(tensor.qmin), abs(tensor.qmax))
    limit = BOUNDS[stored_bits(op)]
    if bound.max() >= limit:
        channel = int(bound.argmax())
        raise QuantizationError(
            f"{name}, channel {channel}: with its zero point folded a sum can reach "
            f"{bound[channel]:,}, the kernel carries less than "
            f"{limit:,}: use fewer inputs in this layer"
            + (", or int8 weights" if limit != ACCUMULATOR_BOUND else "")
        )
    folded: NDArray[np.int32] = bias.astype(np.int32)
    return folded


def depthwise_weights(op: QuantDepthwiseConv2D) -> NDArray[np.int8]:
    """Return int8 [height, width, channels]."""
    return np.ascontiguousarray(op.weights.transpose(1, 2, 0))


def portable_weights(op: QuantDense | QuantConv2D) -> NDArray[np.int8]:
    """Return int8 [groups of four rows, in, bytes]: four of 8-bit weights, two of 4 bits, one of 2.

    Rows are padded with zeros.
    """
    rows = row_bytes(_padded(op, GROUP, 1), stored_bits(op))
    each = GROUP * stored_bits(op) // 8
    return np.ascontiguousarray(rows.reshape(-1, each, rows.shape[1]).transpose(0, 2, 1))


def portable_words(op: QuantDense | QuantConv2D) -> NDArray[np.int8]:
    """Return int8 [groups of four rows, eights of inputs, 8]: two words of 2-bit weights, one of
    each two rows, all 1 higher; the first row of two in the high half.

    Both axes are padded with zeros.
    """
    fields = (_padded(op, GROUP, EIGHT) + 1).astype(np.uint32)
    fields = fields.reshape(len(fields) // GROUP, 2, 2, -1, EIGHT)
    halves = (fields << (2 * np.arange(EIGHT, dtype=np.uint32))).sum(axis=4)
    words = (halves[:, :, 0] << 16 | halves[:, :, 1]).astype("<u4").transpose(0, 2, 1)
    return np.ascontiguousarray(words).view(np.int8)


def mve_weights(op: QuantWeighted) -> NDArray[np.int8]:
    """Return int8 [fours of rows, blocks, bytes, 16]: sixteen inputs of each of four rows, of two
    pairs of 4-bit rows, or of all four rows of 2 bits.

    Both axes are padded with zeros.
    """
    rows = row_bytes(_padded(op, MVE_ROWS, MVE_LANES), stored_bits(op))
    each = MVE_ROWS * stored_bits(op) // 8
    blocks = rows.reshape(len(rows) // each, each, -1, MVE_LANES)
    return np.ascontiguousarray(blocks.transpose(0, 2, 1, 3))


def row_bytes(rows: NDArray[np.int8], bits: int) -> NDArray[np.int8]:
    """Return int8 [rows / (8 / bits), in]: the weights of neighbouring rows in one byte.

    4 bits: 16 * a + b. 2 bits: 64 * a + 16 * b + 4 * c + d. What a row's place does not hold is
    borrowed from the place above it, so each sum is exact.
    """
    per_byte = 8 // bits
    made = np.zeros((len(rows) // per_byte, rows.shape[1]), np.int32)
    for place in range(per_byte):
        made = made * 2**bits + rows[place::per_byte]
    return made.astype(np.int8)


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
