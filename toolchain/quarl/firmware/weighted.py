"""Lowering of layers with weights: dense, convolution, depthwise, for the families of Cortex-M.

In: a node on its way through `quarl.firmware.lower`. Out: its call, with weights laid out for the
    kernel that reads them (`quarl.firmware.packing`).
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from quarl.firmware.c_types import LETTERS
from quarl.firmware.lowering import Fields, Lowering, Step
from quarl.firmware.packing import (
    GROUP,
    MVE_LANES,
    WORD,
    depthwise_weights,
    folded_bias,
    mve_weights,
    pad_rows,
    portable_weights,
    portable_words,
)
from quarl.firmware.program import Array, Function, Struct
from quarl.graph.quant_policy import (
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantTensor,
    QuantWeighted,
    stored_bits,
)

NARROW = {8: "", 4: "_w4", 2: "_w2"}  # in a kernel's name, by the bits of the weights it reads


def add_layer(lowering: Lowering, step: Step, op: QuantWeighted) -> None:
    """Append the call of a layer with weights.

    Raises:
        QuantizationError: a sum that does not fit int32 once the zero point is folded.
    """
    match op:
        case QuantDense():
            _dense(lowering, step, op)
        case QuantConv2D():
            _conv2d(lowering, step, op)
        case QuantDepthwiseConv2D():
            _depthwise(lowering, step, op)


def bias_array(lowering: Lowering, step: Step, op: QuantWeighted, row_step: int = 1) -> Array:
    """Return the biases with the input's zero point folded in, padded with zeros to `row_step`."""
    bias = folded_bias(step.name, op, lowering.policy.tensor(step.source))
    return Array(f"{step.prefix}_bias", "int32_t", pad_rows(bias, row_step))


def requant(step: Step, multiplier: NDArray[np.float32]) -> Struct:
    """Return the `ql_requant` of a layer; a head without an output tensor stores floats."""
    tensor = step.node.output or QuantTensor(np.float32(1), 0)
    return Struct(
        (
            ("multiplier", Array(f"{step.prefix}_multiplier", "float", multiplier)),
            ("zero_point", tensor.zero_point),
            ("qmin", tensor.qmin),
            ("qmax", tensor.qmax),
        )
    )


def store(lowering: Lowering, step: Step) -> Function:
    """Return the function that makes results of a layer's accumulators."""
    name = f"ql_store_{LETTERS[lowering.ctype(step.name)]}"
    return Function(f"{name}_mve" if lowering.kernels == "mve" and name == "ql_store_s8" else name)


def _dense(lowering: Lowering, step: Step, op: QuantDense) -> None:
    fields = _dense_fields(lowering, step, op)
    lowering.call(step, "ql_dense", step.descriptor("ql_dense_layer", fields))


def _conv2d(lowering: Lowering, step: Step, op: QuantConv2D) -> None:
    size = prod(op.weights.shape[1:]) * lowering.element_bytes(step.source)
    scratch = lowering.add_scratch(step, size, lowering.ctype(step.source))
    fields: Fields = (
        ("dense", Struct(_dense_fields(lowering, step, op))),
        ("window", lowering.window(step, op)),
        ("out_bytes", lowering.element_bytes(step.name)),
    )
    lowering.allow_window_overlap(step, op, 1, reads_before_writes=True)
    lowering.call(step, "ql_conv2d", step.descriptor("ql_conv2d_layer", fields), scratch=scratch)


def _depthwise(lowering: Lowering, step: Step, op: QuantDepthwiseConv2D) -> None:
    fields: Fields = (
        ("weights", Array(f"{step.prefix}_weights", "int8_t", depthwise_weights(op))),
        ("bias", bias_array(lowering, step, op)),
        ("requant", requant(step, op.multiplier.astype(np.float32))),
        ("store", store(lowering, step)),
        ("window", lowering.window(step, op)),
        ("out_bytes", lowering.element_bytes(step.name)),
    )
    lowering.allow_window_overlap(step, op, 1, reads_before_writes=False)
    lowering.call(step, "ql_depthwise", step.descriptor("ql_depthwise_layer", fields))


def _dense_fields(lowering: Lowering, step: Step, op: QuantDense | QuantConv2D) -> Fields:
    letters = LETTERS[lowering.ctype(step.source)]
    length = prod(op.weights.shape[1:])
    bits = stored_bits(op)
    narrow = NARROW[bits]
    if lowering.kernels == "mve" and (bits == 8 or letters == "s8"):
        packed, alignment = mve_weights(op), MVE_LANES
        mac = f"ql_mac_{letters}{narrow}_mve"
    elif lowering.kernels == "rv32" and letters == "s8" and bits == 8:
        packed, alignment = portable_weights(op), 1
        mac = "ql_mac_s8_rv32"
    elif bits == 2 and letters == "s8":
        packed, alignment = portable_words(op), WORD
        mac = "ql_mac_s8_w2"
    else:  # narrow weights on int16 are rare, and left to the portable kernel
        packed, alignment = portable_weights(op), 1
        mac = f"ql_mac_{letters}{narrow}"
    return (
        ("weights", Array(f"{step.prefix}_weights", "int8_t", packed, alignment)),
        ("bias", bias_array(lowering, step, op, GROUP)),
        ("requant", requant(step, op.multiplier.astype(np.float32))),
        ("store", store(lowering, step)),
        ("mac", Function(mac)),
        ("in_len", length),
        ("out_len", len(op.weights)),
    )
