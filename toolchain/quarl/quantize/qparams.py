"""Which integers each tensor gets: scale, zero point and width, from the ranges seen in
calibration.

Rules: ReLU outputs put their zero at the bottom of the range, so the clamp is free; tables of tanh
    and sigmoid have the fixed
scales every runtime knows; a tensor read only by a table is clipped where the function no longer
feels it; inputs and output of a concat or add share one scale and zero point, a ReLU among them
keeping its own clamp. Extremes are kept, not clipped: rare states are the ones where a policy falls
(toolchain/docs/quantizer.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import QuantizationError, UnsupportedError
from quarl.graph.policy import (
    INPUT,
    Activation,
    Add,
    Concat,
    Copying,
    Function,
    Mul,
    Weighted,
    activate,
)
from quarl.graph.quant_policy import MULTIPLIER_BOUND, PRODUCT_BOUND, QuantTensor
from quarl.quantize.loops import (
    GATE_BITS,
    NEGATIVE_SIGMOID,
    STATE_BITS,
    STATE_MARGIN,
    Loops,
    accumulated,
    gates,
    is_narrow_copy,
)
from quarl.quantize.transforms import Unit, input_joins, is_copying
from quarl.quantize.widths import largest_weight

SHRINK_STEPS = np.linspace(
    1.0, 0.1, 46
)  # ranges tried for a tensor that a table reads, as shares of the full one
SAMPLES = 20_000  # values a range search looks at
KEPT = 64  # range searches whose answer is kept
LARGEST_FACTOR = 0.75 * MULTIPLIER_BOUND  # what a planned tensor leaves of the limit
LARGEST, SMALLEST = (
    2.0**100,
    2.0**-100,
)  # float32 scales, multipliers and their products stay normal numbers


def spanning_tensor(
    low: float, high: float, bits: int = 8, least_scale: float = 0.0
) -> QuantTensor:
    """Return the tensor whose integers span [low, high], widened to contain 0; a width of 0 becomes
    1.

    A range that starts at 0 has its zero point at qmin. With 9 to 15 bits its integers then start
    at 0 as well; others are centred.

    Args:
        least_scale: the range is widened until a step has at least this size.
    """
    steps = 2**bits - 1
    low, high = _widened(low, high)
    widening = max(1.0, least_scale * steps / (high - low))
    low, high = low * widening, high * widening
    scale = np.float32(min((high - low) / steps, LARGEST))
    qmin = 0 if low == 0 and 8 < bits < 16 else -(2 ** (bits - 1))
    zero_point = qmin + int(np.rint(-low / float(scale)))
    return QuantTensor(scale, zero_point, qmin, qmin + steps)


def held_tensor(low: float, high: float, least_scale: float) -> QuantTensor:
    """Return the tensor of `STATE_BITS`, symmetric around 0, for what lies in [low, high]."""
    reach = STATE_MARGIN * max(-low, high)
    tensor = spanning_tensor(-reach, reach, STATE_BITS, least_scale)
    most = 2 ** (STATE_BITS - 1) - 1
    return QuantTensor(tensor.scale, 0, -most, most)


def function_tensor(function: Function, low: float, high: float, bits: int) -> QuantTensor:
    """Return the output tensor of a table of `function` whose results lie in [low, high].

    Below 8 bits the ends of tanh and sigmoid are integers: of few steps the one at 1 is worth more
    than a power of two.
    """
    if function == "tanh" and bits < 8:
        most = 2 ** (bits - 1) - 1
        return QuantTensor(np.float32(1 / most), 0, -most, most)
    if function == "sigmoid" and bits < 8:
        most = 2**bits - 1
        qmin = -(2 ** (bits - 1))
        return QuantTensor(np.float32(1 / most), qmin, qmin, qmin + most)
    if function == "tanh":
        return QuantTensor(
            np.float32(2.0 ** (1 - bits)), 0, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        )
    if function == NEGATIVE_SIGMOID:
        most = 2**bits - 1
        top = 2 ** (bits - 1) - 1 if bits <= 8 else 0
        return QuantTensor(np.float32(2.0**-bits), top, top - most, top)
    if function == "sigmoid":
        qmin = 0 if 8 < bits < 16 else -(2 ** (bits - 1))
        return QuantTensor(np.float32(2.0**-bits), qmin, qmin, qmin + 2**bits - 1)
    return spanning_tensor(low, high, bits)


def table_input_tensor(
    function: Function,
    values: NDArray[Any],
    output: QuantTensor,
    bits: int,
    least_scale: float = 0.0,
) -> QuantTensor:
    """Return the tensor for `values` that keeps function(values) closest in the mean square after
    both roundings.
    """
    flat = values.ravel()
    sample = flat[:: max(1, flat.size // SAMPLES)].astype(np.float64)
    ends = float(flat.min()), float(flat.max())
    return _table_input(function, sample.tobytes(), ends, output, bits, least_scale)


@lru_cache(maxsize=KEPT)
def _table_input(
    function: Function,
    values: bytes,
    ends: tuple[float, float],
    output: QuantTensor,
    bits: int,
    least_scale: float,
) -> QuantTensor:
    """Return what `table_input_tensor` does, for float64 values as bytes and all values' ends. The
    ways to make integers of a policy ask the same many times.
    """
    sample = np.frombuffer(values, np.float64)
    exact, (low, high) = activate(function, sample), ends
    best, least = spanning_tensor(low, high, bits, least_scale), np.inf
    for shrink in SHRINK_STEPS:
        tensor = spanning_tensor(low * shrink, high * shrink, bits, least_scale)
        made = output.dequantize(
            output.quantize(
                activate(function, tensor.dequantize(tensor.quantize(sample)).astype(np.float64))
            )
        )
        error = float(np.square(made - exact).mean())
        if error < least:
            best, least = tensor, error
    return best


def plan_tensors(
    units: tuple[Unit, ...],
    values: Mapping[str, NDArray[Any]],
    input_tensor: QuantTensor,
    bits: Mapping[str, int],
    weight_bits: Mapping[str, int] | None = None,
    loops: Loops = (),
) -> dict[str, QuantTensor]:
    """Return each unit's output tensor by name, `INPUT` included.

    Args:
        values: float results of every unit on the calibration observations, and what `INPUT` holds.
        bits: width of each unit's output; 8 where not given. What a concat or add joins has the
            width of the narrowest, 8 at most.
        weight_bits: bits of each layer's weights; 8 where not given.
        loops: the states of a recurrent policy; `values` hold them too.
    Raises:
        QuantizationError: results beyond what float32 scales can span; names the layer.
        UnsupportedError: a concat or add of the observation's own integers; names it.
    """
    readers: dict[str, list[Unit]] = {}
    for unit in units:
        for name in unit.inputs:
            readers.setdefault(name, []).append(unit)
    groups = scale_groups(units, loops)
    joined = {name for unit in units if _joins(unit) for name in groups[unit.name]}.union(
        *(groups[state] for state, _ in loops)
    )
    held = accumulated(units, loops)
    bits = {**bits, **dict.fromkeys(gates(units, held), GATE_BITS)}
    ranges = {name: range_of(name, values) for name in groups}
    spans = {
        name: (min(ranges[n][0] for n in group), max(ranges[n][1] for n in group))
        for name, group in groups.items()
    }
    coarsest = _coarsest_steps(units, spans, input_tensor, bits, weight_bits or {})
    least_scales = _least_scales(units, groups, spans, coarsest)
    tensors: dict[str, QuantTensor] = {INPUT: input_tensor}
    # a function's tensor before that of the layer whose results it reads
    for unit in reversed(units):
        name, width, least = unit.name, bits.get(unit.name, 8), least_scales[unit.name]
        table = _table_after(unit, readers.get(name, []))
        if name in joined:
            shared = _group_tensor(groups[name], spans[name], least_scales, bits, name in held)
            tensors[name] = input_tensor if INPUT in groups[name] else shared
        elif table is not None:
            tensors[name] = table_input_tensor(
                table.function, values[name], tensors[readers[name][0].name], width, least
            )
        elif isinstance(unit.op, Activation):
            tensors[name] = function_tensor(unit.op.function, *ranges[name], width)
        elif not is_copying(unit):
            tensors[name] = spanning_tensor(*ranges[name], width, least)
        if unit.relu_max is not None:
            tensors[name] = _clamped(tensors[name], unit.relu_max)
    for unit in units:
        if is_copying(unit):
            tensors[unit.name] = tensors[unit.inputs[0]]
    return {**tensors, **{state: tensors[made] for state, made in loops}}


def _joins(unit: Unit) -> bool:
    return isinstance(unit.op, Concat | Add) and not is_copying(unit)


def _group_tensor(
    group: frozenset[str],
    span: tuple[float, float],
    least_scales: Mapping[str, float],
    bits: Mapping[str, int],
    is_held: bool,
) -> QuantTensor:
    """Return the one tensor of all that a sum, a concat or a state joins."""
    least = max(least_scales.get(name, 0.0) for name in group)
    if is_held:
        return held_tensor(*span, least)
    return spanning_tensor(*span, min(8, *(bits.get(name, 8) for name in group)), least)


def _table_after(unit: Unit, readers: list[Unit]) -> Activation | None:
    """Return the function, or the first of several, that alone read a layer's results; None where
    something else does.
    """
    is_layer = isinstance(unit.op, Weighted) or is_narrow_copy(unit)
    if not is_layer or unit.relu_max is not None or not readers:
        return None
    after = [reader.op for reader in readers if isinstance(reader.op, Activation)]
    return after[0] if len(after) == len(readers) else None


def scale_groups(units: tuple[Unit, ...], loops: Loops = ()) -> dict[str, frozenset[str]]:
    """Return, for each tensor, the names of all that share its scale: with what a concat or add
    joins, before and after what copies, and a state with its next value.
    """
    states = (state for state, _ in loops)
    groups = {name: frozenset({name}) for name in (INPUT, *states, *(unit.name for unit in units))}
    for names in loops:
        pair = groups[names[0]] | groups[names[1]]
        groups.update(dict.fromkeys(pair, pair))
    joins = input_joins(units) if loops else frozenset()
    for unit in units:
        if isinstance(unit.op, Concat | Add | Copying):
            merged = groups[unit.name].union(*(groups[name] for name in unit.inputs))
            is_own = INPUT in groups[unit.name] or INPUT in unit.inputs
            if is_own and unit.name not in joins and not is_copying(unit):
                raise UnsupportedError(
                    f"{unit.name}: joins the observation's own pixels with a layer's results: "
                    "put a layer between them"
                )
            groups.update(dict.fromkeys(merged, merged))
    return groups


def range_of(name: str, values: Mapping[str, NDArray[Any]]) -> tuple[float, float]:
    """Return the lowest and the highest result of a unit.

    Raises:
        QuantizationError: beyond what float32 scales can span; names the layer.
    """
    low, high = float(values[name].min()), float(values[name].max())
    if not -LARGEST < low <= high < LARGEST:
        raise QuantizationError(
            f"{name}: its results lie between {low:.3g} and {high:.3g} on the calibration "
            "observations, "
            f"at most {LARGEST:.3g} can be represented: the weights or the observations are "
            "not those of a working policy"
        )
    return low, high


def _least_scales(
    units: tuple[Unit, ...],
    groups: Mapping[str, frozenset[str]],
    spans: Mapping[str, tuple[float, float]],
    coarsest: Mapping[str, float],
) -> dict[str, float]:
    """Return the output step of each unit from which its largest possible result stays a quarter
    below the limit of acc * multiplier, and its multiplier below the limit of multipliers.

    0 where there is no such limit. The largest possible result counts with all that the integers of
    its input can say.
    """
    reach = {name: max(map(abs, _widened(*span))) for name, span in spans.items()}
    least: dict[str, float] = {}
    for unit in units:
        least[unit.name] = 0.0
        if isinstance(unit.op, Weighted):
            weights = np.abs(unit.op.weights.reshape(len(unit.op.weights), -1)).sum(axis=1)
            largest: NDArray[np.float64] = weights * reach[unit.inputs[0]] + np.abs(unit.op.bias)
            least[unit.name] = max(
                float(largest.max()) / (PRODUCT_BOUND / 4), coarsest[unit.name] / LARGEST_FACTOR
            )
        elif isinstance(unit.op, Mul):
            largest_product = reach[unit.inputs[0]] * reach[unit.inputs[1]]
            least[unit.name] = max(
                largest_product / (PRODUCT_BOUND / 4), coarsest[unit.name] / LARGEST_FACTOR
            )
        if least[unit.name]:
            for name in groups[unit.name]:  # a range widened to such steps
                reach[name] = max(reach[name], least[unit.name] * 2**8)
    return least


def _coarsest_steps(
    units: tuple[Unit, ...],
    spans: Mapping[str, tuple[float, float]],
    input_tensor: QuantTensor,
    bits: Mapping[str, int],
    weight_bits: Mapping[str, int],
) -> dict[str, float]:
    """Return the largest step of each weighted unit's accumulators, in real units: of few bits it
    can be hundreds of steps of a wide output.
    """
    steps = {name: 2 * max(map(abs, _widened(*span))) / 254 for name, span in spans.items()}
    steps[INPUT] = float(input_tensor.scale)
    coarsest: dict[str, float] = {}
    for unit in units:
        reach = max(map(abs, _widened(*spans[unit.name])))
        is_copy = is_copying(unit)
        steps[unit.name] = (
            steps[unit.inputs[0]] if is_copy else 2 * reach / (2 ** bits.get(unit.name, 8) - 2)
        )
        if isinstance(unit.op, Weighted):
            most = largest_weight(weight_bits.get(unit.name, 8))
            peak = float(np.abs(unit.op.weights).max())
            coarsest[unit.name] = steps[unit.inputs[0]] * peak / most
        elif isinstance(unit.op, Mul):
            coarsest[unit.name] = steps[unit.inputs[0]] * steps[unit.inputs[1]]
    return coarsest


def _widened(low: float, high: float) -> tuple[float, float]:
    """Return the range with 0 inside and some width."""
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high - low >= SMALLEST else (0.0, 1.0)


def _clamped(tensor: QuantTensor, relu_max: float) -> QuantTensor:
    """Return the tensor with ReLU's clamp as its bounds; where the zero point is qmin already,
    nothing changes.
    """
    highest = (
        tensor.qmax
        if relu_max == np.inf
        else min(tensor.qmax, tensor.zero_point + int(np.rint(relu_max / float(tensor.scale))))
    )
    return replace(tensor, qmin=tensor.zero_point, qmax=highest)
