"""How many bits each tensor has: of a wide one as many as keep every sum of every layer that
touches it below 2^24, of a narrow one as many as are asked for.

Below that bound float32 holds each sum exactly, in any order, so `.tflite`, `.onnx`, NumPy and C
give the same integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.graph.policy import Activation, Add, Concat, Conv2D, Dense, DepthwiseConv2D, Mul
from quarl.graph.quant_policy import EXACT_FLOAT_BOUND, QuantTensor
from quarl.quantize.qparams import function_tensor, range_of, spanning_tensor
from quarl.quantize.settings import QuantSettings
from quarl.quantize.transforms import Unit, is_copying
from quarl.quantize.weight_rounding import weight_scales

TABLE_BITS = 12  # 4,096 entries of two bytes
OUTPUT_BITS = 16  # of a squashed action
# rounding chosen by the data can make weights a little larger than rounding to the nearest
MARGIN = 1.02


def fits_wide(unit: Unit, tensor: QuantTensor) -> bool:
    """Whether the unit's accumulators stay below 2^24 when it reads `tensor`; true for what has no
    accumulators.
    """
    if not isinstance(unit.op, Dense | Conv2D | DepthwiseConv2D):
        return is_copying(unit) or not isinstance(unit.op, Concat | Add | Mul)
    weights: NDArray[np.float64] = unit.op.weights.reshape(len(unit.op.weights), -1).astype(
        np.float64
    )
    bias: NDArray[np.float64] = unit.op.bias.astype(np.float64)
    scale = weight_scales(weights, bias, tensor.scale, EXACT_FLOAT_BOUND).astype(np.float64)
    sums = np.abs(weights).sum(axis=1) / scale + 0.5 * weights.shape[1]
    bound = sums * MARGIN * tensor.largest_offset + np.abs(bias) / (
        np.float64(tensor.scale) * scale
    )
    return bool(bound.max() < EXACT_FLOAT_BOUND)


def output_widths(
    units: tuple[Unit, ...],
    values: Mapping[str, NDArray[Any]],
    input_tensor: QuantTensor,
    settings: QuantSettings,
) -> dict[str, int]:
    """Return the width in bits of every unit's output that is not 8, as far as its range tells;
    `fitting_widths` has the last word on those above 8.

    Args:
        values: float results of every unit on the calibration observations.
        settings: `hidden_bits` is what a hidden tensor has, up to 8, and the most it may have,
            above; `output_bits` what the last one has where it is neither a wide head nor squashed;
            with `wide_head` a squashed action gets a 16-bit table that reads 12 bits.
    """
    hidden_bits, inner = settings.hidden_bits, _inner(units, settings)
    widths: dict[str, int] = {}
    tensors: dict[str, QuantTensor] = {}
    for index, unit in enumerate(units):
        readers = _readers(units, unit)
        before = tensors.get(unit.inputs[0], input_tensor)
        squashes = settings.wide_head and len(units) > 1 and isinstance(units[-1].op, Activation)
        if squashes and index == len(units) - 1:
            bits = OUTPUT_BITS if widths.get(unit.inputs[0], 8) > 8 else 8
        elif squashes and units[-1].inputs == (unit.name,):
            bits = TABLE_BITS if fits_wide(unit, before) else 8
        elif index == len(units) - 1:
            bits = settings.output_bits
        elif hidden_bits <= 8:
            bits = hidden_bits
        elif is_copying(unit) or isinstance(unit.op, Concat | Add | Mul):
            bits = 8
        elif isinstance(unit.op, Activation) or fits_wide(unit, before):
            most = settings.inner_bits if unit.name in inner else hidden_bits
            bits = next(
                (
                    b
                    for b in range(most, 8, -1)
                    if all(fits_wide(r, _tensor(unit, values, b)) for r in readers)
                ),
                8,
            )
        else:
            bits = 8
        if is_copying(unit):
            tensors[unit.name] = before
            continue
        tensors[unit.name] = _tensor(unit, values, bits)
        if bits != 8:
            widths[unit.name] = bits
    return widths


def _inner(units: tuple[Unit, ...], settings: QuantSettings) -> frozenset[str]:
    """Return the hidden units that have `inner_bits`: all before the last `wide_layers` stages,
    where a stage is a layer with the function that alone reads it.
    """
    if settings.wide_layers is None:
        return frozenset()
    hidden = hidden_stages(units)
    kept = hidden[: max(0, len(hidden) - settings.wide_layers)]
    return frozenset(name for stage in kept for name in stage)


def hidden_stages(units: tuple[Unit, ...]) -> list[tuple[str, ...]]:
    """Return the names of each hidden layer and of the function after it, first layer first."""
    stages: list[tuple[str, ...]] = []
    for unit in units[:-1]:
        if isinstance(unit.op, Activation) and stages and unit.inputs == stages[-1][-1:]:
            stages[-1] = (*stages[-1], unit.name)
        elif isinstance(unit.op, Dense | Conv2D | DepthwiseConv2D | Activation):
            stages.append((unit.name,))
    last = units[-1]
    if isinstance(last.op, Activation) and stages and last.inputs == stages[-1][-1:]:
        stages.pop()  # the layer of a squashed action: its width is the head's
    return stages


def fitting_widths(
    units: tuple[Unit, ...], tensors: Mapping[str, QuantTensor], widths: Mapping[str, int]
) -> dict[str, int]:
    """Return the widths, one bit less where the tensor as planned does not fit the layer that makes
    it or one that reads it.
    """
    fitting = dict(widths)
    for unit in units:
        if widths.get(unit.name, 8) > 8:
            makes = fits_wide(unit, tensors[unit.inputs[0]])
            reads = all(fits_wide(reader, tensors[unit.name]) for reader in _readers(units, unit))
            fitting[unit.name] = widths[unit.name] if makes and reads else widths[unit.name] - 1
    return {name: bits for name, bits in fitting.items() if bits != 8}


def _tensor(unit: Unit, values: Mapping[str, NDArray[Any]], bits: int) -> QuantTensor:
    low, high = range_of(unit.name, values)
    if isinstance(unit.op, Activation):
        return function_tensor(unit.op.function, low, high, bits)
    return spanning_tensor(low, high, bits)


def _readers(units: tuple[Unit, ...], unit: Unit) -> list[Unit]:
    """Return the units that read this one, seen through what copies."""
    direct = [other for other in units if unit.name in other.inputs]
    return [
        reader
        for other in direct
        for reader in (_readers(units, other) if is_copying(other) else [other])
    ]
