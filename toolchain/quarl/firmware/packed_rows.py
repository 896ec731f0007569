"""Packed rows: weights as the SMLAD kernels read them, several rows in one halfword.

firmware_harness/include/ql_kernels_dsp.h draws the layout; decision 0009 explains it. A kernel has
the sum of the halfword's high byte exactly while it is below 2^23, so the inputs of a layer are
split into as many parts as that takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quarl.firmware.packing import pad_rows, padded_length
from quarl.graph.quant_policy import QuantConv2D, QuantDense, stored_bits

STEP, GROUP, CHUNK = 4, 4, 32  # inputs of a step, rows of a group and of a chunk
HIGH_BOUND = 2**23  # of the sum of a halfword's high byte
# what 4-bit weights of zero make of whatever lies behind the inputs of the last step
BEHIND = (STEP - 1) * 8 * 2**15
SPREAD_ORDER = [0, 2, 1, 3]  # of the inputs of a step
BLOCK = 16  # steps after which the sums of 2-bit weights are taken
LOW_BOUND, TOP_BOUND = 2**13, 2**17  # of the sums of a block, of rows b and d, of rows a and c


@dataclass(frozen=True, slots=True)
class PackedRows:
    """The weights and biases of a layer, and into which parts its inputs are split."""

    halfwords: NDArray[np.int16]
    steps: int
    part: int  # steps of a part; the last one may have fewer
    bits: int  # of a weight as it is stored

    @property
    def blocks(self) -> int:
        """Blocks of 2-bit weights."""
        return -(-self.steps // BLOCK)


def pack_rows(
    op: QuantDense | QuantConv2D,
    bias: NDArray[np.int32],
    span: tuple[int, int],
    step_multiple: int = 1,
) -> PackedRows | None:
    """Return the packed weights of a layer; None where a halfword cannot hold them.

    A weight of -128 beside a negative one does not fit; quarl's own weights begin at -127. Weights
    of 2 bits are stored in 4 where a block's sums leave their bounds, as those of wide inputs do.

    Args:
        bias: [out], the input's zero point folded in.
        span: the smallest and the largest integer that the kernel multiplies, with 0 between them.
        step_multiple: the number of steps is padded to its multiples.
    """
    rows = op.weights.reshape(len(op.weights), -1).astype(np.int32)
    width = padded_length(rows.shape[1], STEP * step_multiple)
    padded = np.zeros((padded_length(len(rows), GROUP), width), np.int32)
    padded[: rows.shape[0], : rows.shape[1]] = rows
    biases = pad_rows(bias, GROUP).astype("<i4").view("<i2").reshape(-1, 2 * GROUP)
    steps = width // STEP
    if stored_bits(op) == 2 and _fits_blocks(padded, span):
        groups = _turned_words(padded)
        return PackedRows(_laid_out(groups, biases, steps, False), steps, steps, 2)
    is_int4 = stored_bits(op) <= 4
    high, low = _int4_bytes(padded) if is_int4 else (padded[0::2], padded[1::2])
    halfwords = 256 * high + low
    if np.abs(halfwords + 0.5).max() > 2**15:
        return None
    # of 4 bits, b of a group is the high byte of 256 * (b + 8) + d + 8, and a takes 4 bits more
    bounded = np.concatenate([high, padded[1::4] + 8, 16 * padded[::4]]) if is_int4 else high
    bound = HIGH_BOUND - (BEHIND if is_int4 else 0)
    part = _part(_sums_of_steps(_largest_products(bounded, span)), bound, step_multiple)
    if part is None:
        return None
    groups = _groups(halfwords, 1 if is_int4 else 2)
    bits = 4 if is_int4 else 8
    return PackedRows(_laid_out(groups, biases, part, is_int4), steps, part, bits)


def _fits_blocks(rows: NDArray[np.int32], span: tuple[int, int]) -> bool:
    """Whether the sums of each block of 2-bit weights stay within their bounds."""
    short = -rows.shape[1] % (STEP * BLOCK)  # the first block is the shorter one
    blocks = np.pad(rows, ((0, 0), (short, 0))).reshape(len(rows), -1, STEP * BLOCK)
    up, down = np.split(_largest_products(blocks, span).sum(axis=2), 2)
    fits_low = up[1::2].max() < LOW_BOUND and down[1::2].max() <= LOW_BOUND
    return bool(fits_low and max(up[::2].max(), down[::2].max()) < TOP_BOUND)


def _turned_words(rows: NDArray[np.int32]) -> NDArray[np.int16]:
    """Return 2-bit rows as [groups, steps, 2]: a word of four pairs of halfwords, each turned."""
    halfwords = ((rows[::2] & 3) << 14 | (rows[1::2] + 1)).astype(np.uint32)
    in_order = halfwords.reshape(len(rows) // GROUP, 2, -1, STEP)[..., SPREAD_ORDER]
    words = np.zeros((in_order.shape[0], in_order.shape[2]), np.uint32)
    for view in range(4):
        first = view // 2 * 2
        halves = in_order[:, view % 2, :, first] | in_order[:, view % 2, :, first + 1] << 16
        words |= halves << 4 * view | (halves >> (32 - 4 * view) if view else 0)
    return words.astype("<u4").view("<i2").reshape(*words.shape, 2)


def _int4_bytes(rows: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return high and low byte of the halfwords of groups a b c d; all but a stand 8 higher."""
    a, b, c, d = rows[0::4], rows[1::4] + 8, rows[2::4] + 8, rows[3::4] + 8
    return 16 * a + b, 16 * c + d


def _part(sums: NDArray[np.int64], bound: int, step_multiple: int) -> int | None:
    """Return the steps of a part: as few equal parts as keep every row's sum below the bound."""
    steps = sums.shape[1]
    for parts in range(1, steps // step_multiple + 1):
        part = padded_length(-(-steps // parts), step_multiple)
        starts = range(0, steps, part)
        if all(sums[:, at : at + part].sum(axis=1).max() < bound for at in starts):
            return part
    return None


def _largest_products(weights: NDArray[np.int32], span: tuple[int, int]) -> NDArray[np.int64]:
    """Return int64 [2 * rows, inputs]: how far each weight may take its row's sum up, then down."""
    ends = np.multiply.outer(np.asarray(span, np.int64), weights)
    return np.concatenate([ends.max(axis=0), -ends.min(axis=0)])


def _sums_of_steps(magnitudes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sum of magnitudes of each step, int64 [halfword rows, steps]."""
    steps = magnitudes.reshape(len(magnitudes), -1, STEP)
    sums: NDArray[np.int64] = steps.sum(axis=2)
    return sums


def _groups(halfwords: NDArray[np.int32], per_group: int) -> NDArray[np.int16]:
    """Return halfwords [rows, inputs] as [groups, steps, halfwords of a step], in spread order."""
    steps = halfwords.shape[1] // STEP
    in_order = halfwords.reshape(-1, per_group, steps, STEP)[..., SPREAD_ORDER]
    twos = in_order.reshape(-1, per_group, steps, 2, 2).transpose(0, 2, 3, 1, 4)
    return twos.reshape(len(twos), steps, -1).astype(np.int16)


def _laid_out(
    groups: NDArray[np.int16], biases: NDArray[np.int16], part: int, is_int4: bool
) -> NDArray[np.int16]:
    """Return chunks, parts, groups: each its biases and its steps, of 4 bits the other way
    round.
    """
    per_chunk = CHUNK // GROUP
    pieces = []
    for first in range(0, len(groups), per_chunk):
        chunk, bias = groups[first : first + per_chunk], biases[first : first + per_chunk]
        for at in range(0, groups.shape[1], part):
            steps = chunk[:, at : at + part].reshape(len(chunk), -1)
            parts = [steps, bias] if is_int4 else [bias, steps]
            pieces.append(np.concatenate(parts, axis=1).ravel())
            bias = np.zeros_like(bias)
    return np.concatenate(pieces)
