"""Lowering for Armv8-A: dense and convolution layers on int8 inputs, with NEON or with the dot
product; the rest stays portable.

In: a node on its way through `quarl.firmware.lower`. Out: its call, with weights laid out as
firmware_harness/include/ql_kernels_neon.h draws them. Nothing overlaps: memory is not short on
these machines.
"""

from __future__ import annotations

from math import prod
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from quarl.firmware.lowering import Fields, Lowering, Step
from quarl.firmware.packing import depthwise_weights, pad_rows, padded_length
from quarl.firmware.program import Array, Function, Struct
from quarl.firmware.weighted import bias_array, requant
from quarl.graph.quant_policy import (
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantWeighted,
)

NeonKernels: TypeAlias = Literal["neon", "dot"]
NEON: tuple[NeonKernels, ...] = get_args(NeonKernels)
PAD = 16  # channels that biases and multipliers are padded to
LANES = 16  # int8 of a vector
ALIGNMENT = 64  # bytes: a load of four vectors stays in one line of the cache
PIXELS = 4  # that a convolution makes at a time
BLOCKS = (64, 16, 4)  # rows of the blocks of a dense layer, as ql_neon_rows chooses them
INPUT_STEP: dict[NeonKernels, int] = {
    "neon": 8,
    "dot": 4,
}  # inputs of a dense layer are padded to its multiples
TILE_ROWS: dict[NeonKernels, int] = {"neon": 4, "dot": 16}
ORDER: dict[
    NeonKernels, tuple[int, ...]
] = {  # 4 * row + input, in the order of a vector, of four rows by four inputs
    "neon": (0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15),
    "dot": tuple(range(16)),
}


def add_layer(lowering: Lowering, step: Step, op: QuantWeighted) -> bool:
    """Append the call of a layer; return whether these kernels compute it."""
    if not _takes(lowering, step, op):
        return False
    match op:
        case QuantDense():
            _dense(lowering, step, op)
        case QuantConv2D():
            _conv2d(lowering, step, op)
        case QuantDepthwiseConv2D():
            _depthwise(lowering, step, op)
    return True


def dense_weights(rows: NDArray[np.int8], kernels: NeonKernels) -> NDArray[np.int8]:
    """Return int8 weights [out, in] in blocks of rows, fours of inputs, vectors of four rows; both
    axes padded with zeros.
    """
    padded = _padded(rows, 4, INPUT_STEP[kernels])
    blocks, first = [], 0
    while first < len(padded):
        count = next(size for size in BLOCKS if len(padded) - first >= size)
        fours = (
            padded[first : first + count].reshape(count // 4, 4, -1, 4).transpose(2, 0, 1, 3)
        )  # [inputs / 4, rows / 4, 4 rows, 4 inputs]
        blocks.append(fours.reshape(-1, 16)[:, ORDER[kernels]].ravel())
        first += count
    return np.concatenate(blocks)


def tile_weights(rows: NDArray[np.int8], kernels: NeonKernels) -> NDArray[np.int8]:
    """Return int8 weights [out, in] as the convolutions' tiles read them; both axes padded with
    zeros.
    """
    group = TILE_ROWS[kernels]
    padded = _padded(rows, group, LANES)
    width = LANES if kernels == "neon" else 4
    return np.ascontiguousarray(
        padded.reshape(len(padded) // group, group, -1, width).transpose(0, 2, 1, 3)
    )


def _takes(lowering: Lowering, step: Step, op: QuantWeighted) -> bool:
    """Return whether these kernels compute the layer: on int8, and with NEON's sums of two products
    within int16.
    """
    if lowering.kernels not in NEON or lowering.ctype(step.source) != "int8_t":
        return False
    return (
        lowering.kernels == "dot"
        or isinstance(op, QuantDepthwiseConv2D)
        or bool((op.weights != -128).all())
    )


def _depthwise(lowering: Lowering, step: Step, op: QuantDepthwiseConv2D) -> None:
    fields: Fields = (
        *_base(lowering, step, op, depthwise_weights(op), 1),
        ("window", lowering.window(step, op)),
        ("out_bytes", lowering.element_bytes(step.name)),
    )
    lowering.call(step, "ql_depthwise_neon", step.descriptor("ql_depthwise_layer", fields))


def _dense(lowering: Lowering, step: Step, op: QuantDense) -> None:
    kernels = _kernels(lowering)
    length = op.weights.shape[1]
    fields: Fields = (
        *_base(lowering, step, op, dense_weights(op.weights, kernels), ALIGNMENT),
        ("in_len", length),
        ("out_len", len(op.weights)),
    )
    scratch = None
    if kernels == "neon":
        size = 4 * padded_length(length, INPUT_STEP[kernels])
        scratch = lowering.add_scratch(step, size, "int8_t")
    descriptor = step.descriptor("ql_dense_neon_layer", fields)
    lowering.call(step, f"ql_dense_{kernels}", descriptor, scratch=scratch)


def _conv2d(lowering: Lowering, step: Step, op: QuantConv2D) -> None:
    kernels = _kernels(lowering)
    height, width, channels = op.weights.shape[1:]
    is_in_place = width * channels % LANES == 0 and not np.any(op.padding)
    if is_in_place:
        lines = (height, width * channels, lowering.shapes[step.source][1] * channels)
    else:
        lines = (1, padded_length(prod(op.weights.shape[1:]), LANES), 0)
    rows = op.weights.reshape(len(op.weights), -1)
    fields: Fields = (
        *_base(lowering, step, op, tile_weights(rows, kernels), ALIGNMENT),
        ("tile", Function(f"ql_tile_{kernels}")),
        ("window", lowering.window(step, op)),
        ("lines", Struct(tuple(zip(("count", "bytes", "stride"), lines, strict=True)))),
        ("is_in_place", int(is_in_place)),
        ("out_len", len(op.weights)),
        ("out_bytes", lowering.element_bytes(step.name)),
    )
    size = LANES if is_in_place else PIXELS * lines[1]
    scratch = lowering.add_scratch(step, size, "int8_t")
    descriptor = step.descriptor("ql_conv2d_neon_layer", fields)
    lowering.call(step, "ql_conv2d_neon", descriptor, scratch=scratch)


def _base(
    lowering: Lowering, step: Step, op: QuantWeighted, weights: NDArray[np.int8], alignment: int
) -> Fields:
    """Return the fields every layer has; biases and multipliers are padded."""
    letters = {"int8_t": "s8_neon", "int16_t": "s16", "float": "f32"}[lowering.ctype(step.name)]
    return (
        ("weights", Array(f"{step.prefix}_weights", "int8_t", weights, alignment)),
        ("bias", bias_array(lowering, step, op, PAD)),
        ("requant", requant(step, pad_rows(op.multiplier.astype(np.float32), PAD))),
        ("store", Function(f"ql_store_{letters}")),
    )


def _kernels(lowering: Lowering) -> NeonKernels:
    return "dot" if lowering.kernels == "dot" else "neon"


def _padded(rows: NDArray[np.int8], row_step: int, step: int) -> NDArray[np.int8]:
    padded = np.zeros(
        (padded_length(rows.shape[0], row_step), padded_length(rows.shape[1], step)), np.int8
    )
    padded[: rows.shape[0], : rows.shape[1]] = rows
    return padded
