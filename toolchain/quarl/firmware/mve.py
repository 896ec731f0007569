"""Lowering for cores with Helium: convolutions of int8 windows, two at a time.

In: a node on its way through `quarl.firmware.lower`. Out: its call, with weights laid out as
firmware_harness/include/ql_kernels_mve.h draws them. Other layers take `quarl.firmware.weighted`.
"""

from __future__ import annotations

from math import prod

import numpy as np

from quarl.firmware.lowering import Fields, Lowering, Step
from quarl.firmware.packing import GROUP, MVE_LANES, mve_weights, padded_length
from quarl.firmware.program import Array, Function
from quarl.firmware.weighted import NARROW, bias_array, requant, store
from quarl.graph.quant_policy import QuantConv2D, QuantWeighted, stored_bits


def add_layer(lowering: Lowering, step: Step, op: QuantWeighted) -> bool:
    """Append the call of a layer; return whether these kernels compute it."""
    if lowering.kernels != "mve" or not isinstance(op, QuantConv2D):
        return False
    if lowering.ctype(step.source) != "int8_t":
        return False
    length = padded_length(prod(op.weights.shape[1:]), MVE_LANES)
    fields: Fields = (
        ("weights", Array(f"{step.prefix}_weights", "int8_t", mve_weights(op), MVE_LANES)),
        ("bias", bias_array(lowering, step, op, GROUP)),
        ("requant", requant(step, op.multiplier.astype(np.float32))),
        ("store", store(lowering, step)),
        ("mac", Function(f"ql_mac_lanes_s8{NARROW[stored_bits(op)]}_mve")),
        ("window", lowering.window(step, op)),
        ("out_len", len(op.weights)),
        ("blocks", length // MVE_LANES),
        ("pixel_bytes", len(op.weights) * lowering.element_bytes(step.name)),
    )
    scratch = lowering.add_scratch(step, 2 * length, "int8_t")
    lowering.allow_window_overlap(step, op, 2, reads_before_writes=True)
    descriptor = step.descriptor("ql_conv2d_mve_layer", fields)
    lowering.call(step, "ql_conv2d_mve", descriptor, scratch=scratch)
    return True
