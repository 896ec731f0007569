"""Quantise: a policy and the observations it meets become the integers of every artifact.

Post-training int8 with per-channel weights and per-tensor activations, layer by layer: each layer
is fitted to the float layer's results on the integers that the layers before it really produce.
What is done beyond plain rounding is said by `QuantSettings`; `ladder.py` names the useful sets.
Method and measured gains: toolchain/docs/quantizer.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import UnsupportedError
from quarl.graph.policy import (
    INPUT,
    Activation,
    Add,
    Columns,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    MaxPool2D,
    Mul,
    Policy,
    Weighted,
    activate,
)
from quarl.graph.quant_policy import (
    EXACT_FLOAT_BOUND,
    ObservationQuantizer,
    QuantConv2D,
    QuantDense,
    QuantMul,
    QuantNode,
    QuantPolicy,
    QuantRescale,
    QuantTable,
    QuantTensor,
    accumulator_bound,
    weight_bits,
)
from quarl.graph.reference import apply_integer_op
from quarl.graph.rescale import product_factor
from quarl.graph.rows import split_rows, state_parts
from quarl.graph.state import QuantState
from quarl.quantize.bit_widths import fitting_widths, output_widths
from quarl.quantize.calibration import Calibration
from quarl.quantize.layer_fit import LayerInput, fit_layer
from quarl.quantize.loops import Loops, is_narrow_copy, loops_of, with_narrow_copies
from quarl.quantize.observation import real_input, widest_observation
from quarl.quantize.qparams import plan_tensors
from quarl.quantize.settings import QuantSettings
from quarl.quantize.transforms import (
    Unit,
    center_head,
    equalize,
    input_joins,
    pictures,
    run_unit,
    units_of,
    with_finer_layers,
)
from quarl.quantize.widths import Widths

CHUNK = 32  # images whose patches are in memory at once


@dataclass(frozen=True, slots=True, eq=False)
class Folded:
    """A policy in the shape its integers will have, and its calibration as its layers read it."""

    units: tuple[Unit, ...]
    observation: ObservationQuantizer
    integers: NDArray[np.int32]  # [n, *graph_shape], the observations as every target makes them
    # [n, *graph_shape], what the integers stand for, neither rounded nor clamped
    real: NDArray[Any]
    # of a recurrent policy: float64 [n, length] by the name of each state input, and its loops
    state: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    loops: Loops = ()


def quantize(
    policy: Policy, calibration: Calibration, settings: QuantSettings, rung: int
) -> QuantPolicy:
    """Return the policy in integers.

    Raises:
        QuantizationError: a limit of the arithmetic would be broken; names layer and channel.
        UnsupportedError: a concat or add of pixels with other values.
    """
    folded = fold(policy, calibration, settings)
    nodes, tensors = _quantize_units(folded, settings)
    states = zip(policy.contract.state, policy.next_state, strict=True)
    return QuantPolicy(
        folded.observation,
        nodes,
        policy.contract,
        rung,
        policy.source_sha256,
        state=tuple(QuantState(s.name, tensors[s.tensor_name], made) for s, made in states),
    )


def fold(policy: Policy, calibration: Calibration, settings: QuantSettings) -> Folded:
    """Return the policy after all that is exact in float: joined ReLUs, a centred head, the
    observation's scales and normaliser in the first layer, equalised units.
    """
    units = units_of(policy)
    if settings.center_head and policy.contract.action.kind == "discrete":
        units = center_head(units)
    loops = loops_of(policy)
    units = with_narrow_copies(units, loops)
    obs, held = split_rows(policy.contract, calibration.obs)
    state = state_parts(policy.contract, held.astype(np.float64))
    if input_joins(units) or pictures(units):
        settings = replace(settings, feature_scales=True)
    peak = _joined_peak(units, policy.graph_input(calibration.obs), state)
    seen = replace(calibration, obs=obs)
    observation, units = widest_observation(policy, units, seen, settings, peak)
    graph_obs = policy.contract.observation.to_graph(obs)
    real = real_input(policy.contract.observation, graph_obs, observation)
    if settings.equalize_power > 0:
        units = equalize(units, _peaks(units, real, state), settings.equalize_power)
    units = with_finer_layers(units, settings.input_copies, settings.head_copies)
    return Folded(units, observation, observation.quantize(graph_obs), real, state, loops)


def _joined_peak(
    units: tuple[Unit, ...], graph_input: NDArray[Any], state: Mapping[str, NDArray[Any]]
) -> float | None:
    """Return the largest number that is joined with the observation; None where nothing is."""
    joins = input_joins(units)
    if not joins:
        return None
    values = float64_results(units, graph_input.astype(np.float64), state)
    joined = {n for unit in units if unit.name in joins for n in unit.inputs if n != INPUT}
    return max(float(np.abs(values[name]).max(initial=0)) for name in joined)


def _quantize_units(
    folded: Folded, settings: QuantSettings
) -> tuple[tuple[QuantNode, ...], dict[str, QuantTensor]]:
    """Return the nodes, and the tensors by name."""
    units = folded.units
    reals = float64_results(units, folded.real, folded.state)
    bits_of = layer_bits(units, settings)
    tensors = plan(units, reals, folded.observation.tensor, settings, folded.loops)
    ints: dict[str, NDArray[Any]] = {INPUT: folded.integers}
    for name, values in folded.state.items():
        ints[name] = tensors[name].quantize(values)
    nodes = []
    for unit in units:
        output: QuantTensor | None = tensors[unit.name]
        match unit.op:
            case Dense() | Conv2D() | DepthwiseConv2D():
                source = unit.inputs[0]
                is_head = unit is units[-1] and settings.wide_head and unit.relu_max is None
                bits = bits_of[unit.name]
                seen = LayerInput(reals[source], ints[source], tensors[source])
                op = fit_layer(unit, seen, None if is_head else output, settings, bits)
                if is_head and accumulator_bound(op, tensors[source]).max() < EXACT_FLOAT_BOUND:
                    output = None
                elif is_head:
                    op = fit_layer(unit, seen, output, settings, bits)
                node = QuantNode(unit.name, op, unit.inputs, output)
            case Activation(function=function):
                assert output is not None
                source_tensor = tensors[unit.inputs[0]]
                if is_narrow_copy(unit):
                    same = float(product_factor([source_tensor.scale], output.scale))
                    node = QuantNode(unit.name, QuantRescale(same), unit.inputs, output)
                else:
                    table = function_table(function, source_tensor, output)
                    node = QuantNode(unit.name, table, unit.inputs, output)
            case Mul():
                assert output is not None
                scales = [tensors[name].scale for name in unit.inputs]
                factor = float(product_factor(scales, output.scale))
                node = QuantNode(unit.name, QuantMul(factor), unit.inputs, output)
            case Flatten() | Columns() | Concat() | Add() | MaxPool2D():
                node = QuantNode(unit.name, unit.op, unit.inputs, output)
        nodes.append(node)
        ints[unit.name] = in_chunks(
            lambda *parts, node=node: apply_integer_op(node, list(parts), tensors.__getitem__),
            [ints[n] for n in unit.inputs],
        )
    return tuple(nodes), tensors


def plan(
    units: tuple[Unit, ...],
    reals: dict[str, NDArray[Any]],
    input_tensor: QuantTensor,
    settings: QuantSettings,
    loops: Loops = (),
) -> dict[str, QuantTensor]:
    """Return each unit's output tensor by name, as wide as asked for and as 2^24 allows."""
    widths = output_widths(units, reals, input_tensor, settings)
    bits_of = layer_bits(units, settings)
    while True:
        tensors = plan_tensors(units, reals, input_tensor, widths, bits_of, loops)
        fitting = fitting_widths(units, tensors, widths)
        if fitting == widths:
            return tensors
        widths = fitting


def layer_bits(units: tuple[Unit, ...], settings: QuantSettings) -> dict[str, int]:
    """Return the bits of each weighted layer's weights, by name: depthwise ones keep 8, being small
    and losing most.

    Raises:
        UnsupportedError: fewer than 8 bits are asked for, and no layer can have them.
    """
    weighted = [unit for unit in units if isinstance(unit.op, Weighted)]
    bits = {}
    for unit in weighted:
        is_edge = unit in (weighted[0], weighted[-1])
        wanted = settings.edge_bits if is_edge else settings.weight_bits
        bits[unit.name] = wanted if isinstance(unit.op, Dense | Conv2D) else 8
    if settings.weight_bits < 8 and all(found == 8 for found in bits.values()):
        name = f"int{settings.weight_bits}"
        advice = (
            "omit the option"
            if settings.edge_bits < 8
            else f"use {name}-all, which takes those too"
        )
        raise UnsupportedError(
            f"--weights {name}: there is no dense or convolution layer between the first and the "
            f"last: {advice}"
        )
    return bits


def widths_of(policy: QuantPolicy) -> Widths:
    """Return the widths that were asked for when the policy was quantised; what has 8 bits or more
    is the rung's.
    """
    bits = [
        weight_bits(node.op)
        for node in policy.nodes
        if isinstance(node.op, QuantDense | QuantConv2D)
    ]
    inner = policy.nodes[:-1]
    if isinstance(policy.nodes[-1].op, QuantTable):  # what a squashed action's table reads
        inner = inner[:-1]
    hidden = [_bits(node.output) for node in inner if node.output is not None]
    inputs = _bits(policy.observation.tensor)
    return Widths(
        weights=min(bits, default=8),
        edges=max(bits[0], bits[-1]) if bits else 8,
        activations=max(hidden) if hidden and max(hidden) < 8 else None,
        inputs=inputs if inputs < 8 else None,
    )


def _bits(tensor: QuantTensor) -> int:
    return int(tensor.qmax - tensor.qmin).bit_length()


def function_table(function: str, tensor: QuantTensor, output: QuantTensor) -> QuantTable:
    """Return the table of an elementwise function between two tensors: the function in double of
    the float32 input, rounded half even.
    """
    inputs = tensor.dequantize(np.arange(tensor.qmin, tensor.qmax + 1))
    exact = activate(function, inputs.astype(np.float64))
    return QuantTable(function, output.quantize(exact.astype(np.float32)).astype(np.int16))


def in_chunks(function: Callable[..., NDArray[Any]], arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """Return function(*arrays), computed in parts of the batch where the arrays are images: patches
    of few are in memory at once.
    """
    if arrays[0].ndim == 2:
        return function(*arrays)
    parts = [
        function(*(array[i : i + CHUNK] for array in arrays))
        for i in range(0, len(arrays[0]), CHUNK)
    ]
    return np.concatenate(parts)


def float64_results(
    units: tuple[Unit, ...],
    real: NDArray[Any],
    state: Mapping[str, NDArray[Any]] = MappingProxyType({}),
) -> dict[str, NDArray[Any]]:
    """Return every unit's float64 result by name, `INPUT` included.

    Sums of float32 differ in their last bits from one machine's matrix product to another's, and
    with them scales and biases.
    """
    values: dict[str, NDArray[Any]] = {INPUT: real, **state}
    for unit in units:
        values[unit.name] = in_chunks(
            lambda *parts, unit=unit: run_unit(
                unit, [part.astype(np.float64, copy=False) for part in parts]
            ),
            [values[name] for name in unit.inputs],
        )
    return values


def _peaks(
    units: tuple[Unit, ...], real: NDArray[Any], state: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.float64]]:
    values = float64_results(units, real, state)
    return {
        unit.name: np.abs(values[unit.name]).max(axis=tuple(range(values[unit.name].ndim - 1)))
        for unit in units
    }
