"""Which integers each tensor gets: scale, zero point and width, from the ranges seen in calibration.

Rules: ReLU outputs put their zero at the bottom of the range, so the clamp is free; tables of tanh and sigmoid have the fixed
scales every runtime knows; a tensor read only by a table is clipped where the function no longer feels it; inputs and output of a
concat or add share one tensor. Extremes are kept, not clipped: rare states are the ones where a policy falls
(toolchain/docs/quantizer.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.policy import Activation, Add, Concat, Flatten, Function, Weighted, activate
from quarl.quant_policy import INT8_MAX, INT8_MIN, QuantTensor
from quarl.units import Unit

SHRINK_STEPS = np.linspace(1.0, 0.1, 46)  # ranges tried for a tensor that a table reads, as shares of the full one
SAMPLES = 20_000  # values a range search looks at


def spanning_tensor(low: float, high: float, bits: int = 8) -> QuantTensor:
    """Return the tensor whose integers span [low, high], widened to contain 0; a width of 0 becomes 1.

    A range that starts at 0 has its zero point at qmin. More than 8 bits start at 0 for such ranges and are centred otherwise.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    steps = 2**bits - 1
    scale = np.float32((high - low) / steps) if high > low else np.float32(1 / steps)
    qmin = INT8_MIN if bits == 8 else (0 if low == 0 else -(2 ** (bits - 1)))
    zero_point = qmin + int(np.rint(-low / float(scale)))
    return QuantTensor(scale, zero_point, qmin, qmin + steps)


def function_tensor(function: Function, low: float, high: float, bits: int) -> QuantTensor:
    """Return the output tensor of a table of `function` whose results lie in [low, high]."""
    if function == "tanh":
        return QuantTensor(np.float32(2.0 ** (1 - bits)), 0, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if function == "sigmoid" and bits == 8:
        return QuantTensor(np.float32(1 / 256), INT8_MIN, INT8_MIN, INT8_MAX)
    if function == "sigmoid":
        return QuantTensor(np.float32(2.0**-bits), 0, 0, 2**bits - 1)
    return spanning_tensor(low, high, bits)


def table_input_tensor(function: Function, values: NDArray[Any], output: QuantTensor, bits: int) -> QuantTensor:
    """Return the tensor for `values` that keeps function(values) closest in the mean square after both roundings."""
    flat = values.ravel()
    sample = flat[:: max(1, flat.size // SAMPLES)].astype(np.float64)
    exact = activate(function, sample)
    low, high = float(flat.min()), float(flat.max())
    best, least = spanning_tensor(low, high, bits), np.inf
    for shrink in SHRINK_STEPS:
        tensor = spanning_tensor(low * shrink, high * shrink, bits)
        made = output.dequantize(output.quantize(activate(function, tensor.dequantize(tensor.quantize(sample)).astype(np.float64))))
        error = float(np.square(made - exact).mean())
        if error < least:
            best, least = tensor, error
    return best


def plan_tensors(
    units: tuple[Unit, ...], values: Mapping[str, NDArray[Any]], input_tensor: QuantTensor, bits: Mapping[str, int]
) -> dict[str, QuantTensor]:
    """Return each unit's output tensor by name, `INPUT` not included.

    Args:
        values: float results of every unit on the calibration observations.
        bits: width of each unit's output; 8 where not given.
    """
    readers: dict[str, list[Unit]] = {unit.name: [] for unit in units}
    for unit in units:
        for name in unit.inputs:
            readers.setdefault(name, []).append(unit)
    tensors: dict[str, QuantTensor] = {}
    for unit in units:
        low, high = float(values[unit.name].min()), float(values[unit.name].max())
        width = bits.get(unit.name, 8)
        match unit.op:
            case Activation(function=function):
                tensors[unit.name] = function_tensor(function, low, high, width)
            case Flatten():
                tensors[unit.name] = tensors.get(unit.inputs[0], input_tensor)
            case _:
                tensors[unit.name] = spanning_tensor(low, high, width)
    for unit in units:  # a tensor that a table alone reads serves that table
        after = readers[unit.name]
        if isinstance(unit.op, Weighted) and unit.relu_max is None and len(after) == 1 and isinstance(after[0].op, Activation):
            output = tensors[after[0].name]
            tensors[unit.name] = table_input_tensor(after[0].op.function, values[unit.name], output, bits.get(unit.name, 8))
    for unit in units:  # what a concat or add touches shares one tensor
        if isinstance(unit.op, Concat | Add):
            _share([*unit.inputs, unit.name], tensors, values)
    return tensors


def _share(names: list[str], tensors: dict[str, QuantTensor], values: Mapping[str, NDArray[Any]]) -> None:
    low = min(float(values[name].min()) for name in names)
    high = max(float(values[name].max()) for name in names)
    shared = spanning_tensor(low, high)
    old = {id(tensors[name]) for name in names if name in tensors}
    for name, tensor in tensors.items():
        if name in names or id(tensor) in old:
            tensors[name] = shared
