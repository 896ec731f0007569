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

from quarl.firmware.input_order import MOST, SHARED_ROWS, InputOrder, input_orders
from quarl.firmware.lowering import Fields, Lowering, Step
from quarl.firmware.packing import depthwise_weights, pad_rows, padded_length
from quarl.firmware.program import NULL, Array, Function, Struct
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
STEP = 32  # inputs that a convolution reads of each window at a time, and a layer of few rows
FEW = 12  # rows of a dense layer, of which there would be no block of 16
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
    axes padded with zeros. With NEON sixteen rows have the next four inputs beside them.
    """
    padded = _padded(rows, 4, INPUT_STEP[kernels])
    blocks, first = [], 0
    while first < len(padded):
        count = next(size for size in BLOCKS if len(padded) - first >= size)
        own = padded[first : first + count]
        # [inputs / 4, rows / 4, 4 rows, 4 inputs]
        fours = own.reshape(count // 4, 4, -1, 4).transpose(2, 0, 1, 3)
        vectors = fours.reshape(-1, 16)
        if kernels == "neon":
            stacked = min(count // 4, 4)
            pairs = fours.reshape(len(fours) // 2, 2, -1, stacked, 16).transpose(0, 2, 1, 3, 4)
            vectors = pairs.reshape(-1, 16)
        blocks.append(vectors[:, ORDER[kernels]].ravel())
        first += count
    return np.concatenate(blocks)


def tile_weights(rows: NDArray[np.int8], kernels: NeonKernels) -> NDArray[np.int8]:
    """Return int8 weights [out, in] as the convolutions' tiles read them; both axes padded with
    zeros.
    """
    group = TILE_ROWS[kernels]
    padded = _padded(rows, group, STEP)
    width = LANES if kernels == "neon" else 4
    return np.ascontiguousarray(
        padded.reshape(len(padded) // group, group, -1, width).transpose(0, 2, 1, 3)
    )


def wide_steps(rows: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return int8 [rows / 4, steps]: 1 where four products of int8 do not fit int16.

    They are those of inputs that lie eight apart.
    """
    padded = np.abs(_padded(rows, TILE_ROWS["neon"], STEP).astype(np.int32))
    sums = padded.reshape(len(padded) // 4, 4, -1, 4, 8).sum(axis=3)
    wide: NDArray[np.int8] = (sums.max(axis=(1, 3)) > MOST).astype(np.int8)
    return wide


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
        ("weights", Array(f"{step.prefix}_weights", "int8_t", depthwise_weights(op))),
        *_base(lowering, step, op),
        ("window", lowering.window(step, op)),
        ("out_bytes", lowering.element_bytes(step.name)),
    )
    lowering.call(step, "ql_depthwise_neon", step.descriptor("ql_depthwise_layer", fields))


def _dense(lowering: Lowering, step: Step, op: QuantDense) -> None:
    kernels = _kernels(lowering)
    length = op.weights.shape[1]
    if kernels == "neon" and len(op.weights) <= FEW:
        _dense_few(lowering, step, op)
        return
    found = input_orders(op.weights) if kernels == "neon" else None
    rows, orders = (SHARED_ROWS[0], []) if found is None else found
    weights = op.weights if not orders else _reordered(op.weights, rows, orders)
    fields: Fields = (
        ("weights", _weights(step, dense_weights(weights, kernels))),
        *_base(lowering, step, op),
        ("in_len", length),
        ("out_len", len(op.weights)),
        ("rows", rows),
        *_order_fields(step, orders),
    )
    scratch = None
    if kernels == "neon":
        size = 4 * padded_length(length, INPUT_STEP[kernels])
        scratch = lowering.add_scratch(step, size, "int8_t")
    descriptor = step.descriptor("ql_dense_neon_layer", fields)
    lowering.call(step, f"ql_dense_{kernels}", descriptor, scratch=scratch)


def _dense_few(lowering: Lowering, step: Step, op: QuantDense) -> None:
    length = op.weights.shape[1]
    wide = wide_steps(op.weights).ravel()
    fields: Fields = (
        ("weights", _weights(step, tile_weights(op.weights, "neon"))),
        ("is_wide", Array(f"{step.prefix}_wide", "int8_t", wide)),
        *_base(lowering, step, op),
        ("in_len", length),
        ("out_len", len(op.weights)),
    )
    size = LANES if length % STEP == 0 else padded_length(length, STEP)
    scratch = lowering.add_scratch(step, size, "int8_t")
    descriptor = step.descriptor("ql_dense_few_layer", fields)
    lowering.call(step, "ql_dense_few_neon", descriptor, scratch=scratch)


def _reordered(weights: NDArray[np.int8], rows: int, orders: list[InputOrder]) -> NDArray[np.int8]:
    """Return int8 weights [out, in padded to eights], the inputs of each `rows` rows in their
    order.
    """
    padded = _padded(weights, 1, INPUT_STEP["neon"])
    parts = [
        padded[at * rows : (at + 1) * rows, order.columns(weights.shape[1])]
        for at, order in enumerate(orders)
    ]
    return np.concatenate(parts)


def _order_fields(step: Step, orders: list[InputOrder]) -> Fields:
    if not orders:
        return (("places", NULL), ("order", NULL))
    places = np.concatenate([order.places.ravel() for order in orders])
    numbers = [np.array([order.fitting // 4], np.int16) for order in orders]
    order = np.concatenate(
        [
            part
            for number, one in zip(numbers, orders, strict=True)
            for part in (number, one.windows)
        ]
    )
    return (
        ("places", Array(f"{step.prefix}_places", "int8_t", places)),
        ("order", Array(f"{step.prefix}_order", "int16_t", order)),
    )


def _conv2d(lowering: Lowering, step: Step, op: QuantConv2D) -> None:
    kernels = _kernels(lowering)
    height, width, channels = op.weights.shape[1:]
    line, image_line = width * channels, lowering.shapes[step.source][1] * channels
    steps = padded_length(prod(op.weights.shape[1:]), STEP) // STEP
    is_in_place = line % STEP == 0 and not np.any(op.padding)
    if not is_in_place:
        runs = (1, steps, STEP, 0)
    elif line == STEP:  # a line is a step
        runs = (1, height, image_line, 0)
    else:
        runs = (height, line // STEP, STEP, image_line - line)
    rows = op.weights.reshape(len(op.weights), -1)
    is_wide = Array(f"{step.prefix}_wide", "int8_t", wide_steps(rows).ravel())
    bias, *others = _base(lowering, step, op)
    tile_rows: Fields = (
        ("weights", _weights(step, tile_weights(rows, kernels))),
        ("is_wide", is_wide if kernels == "neon" else NULL),
        bias,
        ("runs", Struct(tuple(zip(("count", "steps", "stride", "skip"), runs, strict=True)))),
    )
    is_int8 = lowering.ctype(step.name) == "int8_t"
    fields: Fields = (
        ("rows", Struct(tile_rows)),
        *others,
        ("store_tile", Function("ql_store_tile_s8_neon") if is_int8 else NULL),
        ("tile", Function(f"ql_tile_{kernels}")),
        ("window", lowering.window(step, op)),
        ("is_in_place", int(is_in_place)),
        ("out_len", len(op.weights)),
        ("out_bytes", lowering.element_bytes(step.name)),
    )
    size = LANES if is_in_place else PIXELS * steps * STEP
    scratch = lowering.add_scratch(step, size, "int8_t")
    descriptor = step.descriptor("ql_conv2d_neon_layer", fields)
    lowering.call(step, "ql_conv2d_neon", descriptor, scratch=scratch)


def _weights(step: Step, weights: NDArray[np.int8]) -> Array:
    return Array(f"{step.prefix}_weights", "int8_t", weights, ALIGNMENT)


def _base(lowering: Lowering, step: Step, op: QuantWeighted) -> Fields:
    """Return biases and multipliers, padded, and what stores the results."""
    letters = {"int8_t": "s8_neon", "int16_t": "s16", "float": "f32"}[lowering.ctype(step.name)]
    return (
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
