"""Lowering for cores with SMLAD: layers with weights; the rest stays portable.

In: a node on its way through `quarl.firmware.lower`. Out: its call, with packed rows of weights as
firmware_harness/include/ql_kernels_dsp.h draws them.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from quarl.firmware.c_types import LETTERS
from quarl.firmware.lowering import Fields, Lowering, Step
from quarl.firmware.packed_rows import CHUNK, GROUP, STEP, PackedRows, pack_rows
from quarl.firmware.packing import folded_bias, pad_rows, padded_length
from quarl.firmware.program import NULL, Array, Function, Struct
from quarl.firmware.weighted import NARROW, requant, store
from quarl.graph.quant_policy import (
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantWeighted,
    stored_bits,
)

WORD = 4  # bytes; LDM faults on less
INT16_BYTES = 2
LANE_BYTES = (CHUNK + 1) * 4  # QL_LANE words


def add_layer(lowering: Lowering, step: Step, op: QuantWeighted) -> bool:
    """Append the call of a layer; return whether these kernels compute it."""
    if lowering.kernels != "dsp":
        return False
    match op:
        case QuantDense():
            return _dense(lowering, step, op)
        case QuantConv2D():
            return _conv2d(lowering, step, op)
        case QuantDepthwiseConv2D():
            return _depthwise(lowering, step, op)
    return False


def _dense(lowering: Lowering, step: Step, op: QuantDense) -> bool:
    in_type = lowering.ctype(step.source)
    multiple = 2 if stored_bits(op) <= 4 else 1
    packed = pack_rows(op, _bias(lowering, step, op), _span(lowering, step), multiple)
    if packed is None:
        return False
    fields: Fields = (
        ("rows", _rows(lowering, step, op, packed)),
        ("spread", Function(f"ql_spread_{LETTERS[in_type]}")),
        ("in_len", op.weights.shape[1]),
    )
    size = packed.steps * STEP * INT16_BYTES + _spare(packed, 1)
    scratch = lowering.add_scratch(step, size, "int16_t")
    descriptor = step.descriptor("ql_dense_dsp_layer", fields)
    lowering.call(step, "ql_dense_dsp", descriptor, scratch=scratch)
    return True


def _conv2d(lowering: Lowering, step: Step, op: QuantConv2D) -> bool:
    in_type = lowering.ctype(step.source)
    packed = pack_rows(op, _bias(lowering, step, op), _span(lowering, step))
    if packed is None:
        return False
    height, width, channels = op.weights.shape[1:]
    line = width * channels
    is_direct = in_type == "int8_t" and line % WORD == 0
    image_line = lowering.shapes[step.source][1] * channels
    lines = (height, line, image_line) if is_direct else (0, 0, 0)
    needs_copies = not is_direct or bool(np.any(op.padding))
    patch = padded_length(prod(op.weights.shape[1:]), STEP) * lowering.element_bytes(step.source)
    spread_bytes = 2 * packed.steps * STEP * INT16_BYTES
    fields: Fields = (
        ("rows", _rows(lowering, step, op, packed)),
        ("spread", Function(f"ql_spread_lanes_{LETTERS[in_type]}")),
        ("window", lowering.window(step, op)),
        ("lines", _lines(lines)),
        ("patch", _lines((1, patch, 0))),
        ("pixel_bytes", len(op.weights) * lowering.element_bytes(step.name)),
        ("patch_offset", spread_bytes // INT16_BYTES),
    )
    size = spread_bytes + max(2 * patch if needs_copies else 0, _spare(packed, 2))
    scratch = lowering.add_scratch(step, size, "int16_t")
    lowering.allow_window_overlap(step, op, 2, reads_before_writes=True)
    descriptor = step.descriptor("ql_conv2d_dsp_layer", fields)
    lowering.call(step, "ql_conv2d_dsp", descriptor, scratch=scratch)
    return True


def _bias(lowering: Lowering, step: Step, op: QuantWeighted) -> NDArray[np.int32]:
    return folded_bias(step.name, op, lowering.policy.tensor(step.source))


def _span(lowering: Lowering, step: Step) -> tuple[int, int]:
    """Return the smallest and the largest integer that meets a weight other than 0."""
    tensor = lowering.policy.tensor(step.source)
    return min(tensor.qmin, 0), max(tensor.qmax, 0)


def _spare(packed: PackedRows, lanes: int) -> int:
    """Return the bytes of scratch in which the sums of a second part are made, or stand what those
    of blocks start at.
    """
    if packed.bits == 2:
        return lanes * packed.blocks * WORD
    return 0 if packed.part == packed.steps else lanes * LANE_BYTES


def _depthwise(lowering: Lowering, step: Step, op: QuantDepthwiseConv2D) -> bool:
    if lowering.ctype(step.source) != "int8_t":
        return False
    channels, height, width = op.weights.shape
    padding = padded_length(channels, WORD) if np.any(op.padding) else 0
    fields: Fields = (
        ("weights", Array(f"{step.prefix}_weights", "int8_t", _taps(lowering, step, op), WORD)),
        ("requant", requant(step, op.multiplier.astype(np.float32))),
        ("store", store(lowering, step)),
        ("window", lowering.window(step, op)),
        ("pixel_bytes", channels * lowering.element_bytes(step.name)),
        ("padding_len", padding),
    )
    scratch = lowering.add_scratch(step, 2 * height * width * WORD + padding, "int32_t")
    lowering.allow_window_overlap(step, op, 1, reads_before_writes=False)
    descriptor = step.descriptor("ql_depthwise_dsp_layer", fields)
    lowering.call(step, "ql_depthwise_dsp", descriptor, scratch=scratch)
    return True


def _taps(lowering: Lowering, step: Step, op: QuantDepthwiseConv2D) -> NDArray[np.int8]:
    """Return groups of four channels: their biases, then [taps][4]; padded with zeros."""
    bias = pad_rows(_bias(lowering, step, op), GROUP).astype("<i4").view(np.int8)
    channels = len(op.weights)
    weights = np.zeros((padded_length(channels, GROUP), op.weights[0].size), np.int8)
    weights[:channels] = op.weights.reshape(channels, -1)
    taps = weights.reshape(-1, GROUP, weights.shape[1]).transpose(0, 2, 1)
    groups = [bias.reshape(len(taps), -1), taps.reshape(len(taps), -1)]
    return np.concatenate(groups, axis=1).ravel()


def _rows(
    lowering: Lowering, step: Step, op: QuantDense | QuantConv2D, packed: PackedRows
) -> Struct:
    """Return the `ql_rows` of a layer."""
    narrow = NARROW[packed.bits]
    mac = f"ql_mac{'_lanes' if isinstance(op, QuantConv2D) else ''}{narrow}_dsp"
    needs_sums = packed.bits < 8 or packed.part != packed.steps
    sums = Function(f"ql_sums{narrow}_dsp") if needs_sums else NULL
    return Struct(
        (
            ("weights", Array(f"{step.prefix}_weights", "int16_t", packed.halfwords, WORD)),
            ("requant", requant(step, op.multiplier.astype(np.float32))),
            ("store", store(lowering, step)),
            ("mac", Function(mac)),
            ("sums", sums),
            ("out_len", len(op.weights)),
            ("steps", packed.steps),
            ("part", packed.part),
        )
    )


def _lines(values: tuple[int, int, int]) -> Struct:
    return Struct(tuple(zip(("count", "bytes", "stride"), values, strict=True)))
