"""Quantise: a policy and the observations it meets become the integers of every artifact.

Post-training int8 with per-channel weights and per-tensor activations, layer by layer: each layer
is fitted to the float layer's results on the integers that the layers before it really produce.
What is done beyond plain rounding is said by `QuantSettings`; `ladder.py` names the useful sets.
Method and measured gains: toolchain/docs/quantizer.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import gcd, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.errors import UnsupportedError
from quarl.graph.contract import Observation
from quarl.graph.policy import (
    INPUT,
    Activation,
    Add,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    MaxPool2D,
    Policy,
    Weighted,
    activate,
    apply_op,
    windows_of,
)
from quarl.graph.quant_policy import (
    EXACT_FLOAT_BOUND,
    ObservationQuantizer,
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantNode,
    QuantPolicy,
    QuantTable,
    QuantTensor,
    QuantWeighted,
    accumulator_bound,
    weight_bits,
)
from quarl.graph.reference import apply_integer_op
from quarl.graph.rescale import rescale_factor
from quarl.quantize.bit_widths import fits_wide, fitting_widths, output_widths
from quarl.quantize.calibration import Calibration
from quarl.quantize.qparams import LARGEST, plan_tensors, spanning_tensor
from quarl.quantize.transforms import Unit, center_head, equalize, fold_input, run_unit, units_of
from quarl.quantize.weight_rounding import (
    DAMPING,
    least_error_share,
    round_nearest,
    round_to_data,
    weight_scales,
)
from quarl.quantize.widths import Widths, largest_weight

CHUNK = 32  # images whose patches are in memory at once
COVARIANCE_ROWS = 4096  # input rows a layer's covariance is estimated from
# |observation * inv_scale| stays below it, so that float32 holds eighths of a step and zero points
# are exact
FARTHEST_STEP = 2.0**21
NARROW_BIAS_BOUND = 2**24  # of 2^31: leaves the sums room, and keeps int32 -> float32 exact
# layers with more inputs are rounded to the nearest: the covariance would not be known from the
# calibration
COVARIANCE_INPUTS = 1024
# of layers with fewer than 8 bits, which need the fitting more; a strong damping stands for what
# the calibration does not tell
NARROW_INPUTS = 4096
NARROW_DAMPING = 1e-2
# up to here the largest weights are clipped where that lowers the square error: at 4 bits it gained
# on one policy and lost on two
CLIPPED_BITS = 3


@dataclass(frozen=True, slots=True)
class QuantSettings:
    """What the quantiser does beyond rounding to the nearest."""

    center_head: bool = False  # subtract the mean row of an argmax head
    feature_scales: bool = False  # one scale per observation feature, folded into the first layer
    bias_correction: bool = False  # the mean error of a channel goes into its bias
    data_rounding: bool = False  # rounding chosen by least squares on the calibration
    equalize_power: float = 0.0  # hidden channels brought towards one range
    wide_head: bool = False  # int32 accumulators decide, or a 16-bit table for a squashed action
    input_bits: int = 8  # width of observations
    hidden_bits: int = 8  # width of hidden activations; above 8 as far as 2^24 allows
    output_bits: int = 8  # of the last integers, where they are neither a wide head nor squashed
    weight_bits: int = 8  # of the layers between the first and the last
    edge_bits: int = 8  # weights of the first and the last layer

    def with_widths(self, widths: Widths) -> QuantSettings:
        """Return the settings with the widths that are asked for; None leaves what is there."""
        return replace(
            self,
            input_bits=widths.inputs or self.input_bits,
            hidden_bits=widths.activations or self.hidden_bits,
            output_bits=widths.output or self.output_bits,
            wide_head=self.wide_head and widths.output is None,
            weight_bits=widths.weights,
            edge_bits=widths.edges,
        )


def quantize(
    policy: Policy, calibration: Calibration, settings: QuantSettings, rung: int
) -> QuantPolicy:
    """Return the policy in integers.

    Raises:
        QuantizationError: a limit of the arithmetic would be broken; names layer and channel.
        UnsupportedError: a concat or add of pixels with other values.
    """
    units = units_of(policy)
    if settings.center_head and policy.contract.action.kind == "discrete":
        units = center_head(units)
    observation, units = widest_observation(policy, units, calibration, settings)
    graph_obs = policy.contract.observation.to_graph(calibration.obs)
    integers = observation.quantize(graph_obs)
    real = _real_input(policy.contract.observation, graph_obs, observation)
    if settings.equalize_power > 0:
        units = equalize(units, _peaks(units, real), settings.equalize_power)
    return QuantPolicy(
        observation,
        _quantize_units(units, real, integers, observation.tensor, settings),
        policy.contract,
        rung,
        policy.source_sha256,
    )


def widest_observation(
    policy: Policy, units: tuple[Unit, ...], calibration: Calibration, settings: QuantSettings
) -> tuple[ObservationQuantizer, tuple[Unit, ...]]:
    """Return the observation quantiser with the most bits, up to `input_bits`, that its readers'
    accumulators allow.
    """
    for bits in range(settings.input_bits, 8, -1):
        observation, folded = observation_quantizer(
            policy, units, calibration, bits, feature_scales=settings.feature_scales
        )
        if observation.is_pixels or all(
            fits_wide(unit, observation.tensor) for unit in folded if INPUT in unit.inputs
        ):
            return observation, folded
    return observation_quantizer(
        policy,
        units,
        calibration,
        min(8, settings.input_bits),
        feature_scales=settings.feature_scales,
    )


def observation_quantizer(
    policy: Policy,
    units: tuple[Unit, ...],
    calibration: Calibration,
    bits: int,
    *,
    feature_scales: bool,
) -> tuple[ObservationQuantizer, tuple[Unit, ...]]:
    """Return the observation quantiser and the units that read its integers; scales and normaliser
    are folded into both, exactly.

    One exception: of a feature that never moves, so far from zero that float32 hardly tells its
    steps apart, the folded step is kept as small as that of other features; it stands for less than
    the real one, and the weights beside it keep their resolution.
    """
    observation = policy.contract.observation
    if observation.is_image:
        return ObservationQuantizer(
            np.zeros(0, np.float32), np.zeros(0, np.int32), QuantTensor(np.float32(1 / 255), -128)
        ), units
    count = observation.shape[0]
    normalizer = observation.normalizer
    mean = np.zeros(count) if normalizer is None else np.array(normalizer.mean, np.float64)
    std = np.ones(count) if normalizer is None else normalizer.std
    values = (
        calibration.obs.astype(np.float64)
        if normalizer is None
        else normalizer.apply(calibration.obs)
    )
    low, high = values.min(axis=0), values.max(axis=0)
    is_still = high - low < 1e-9 * np.maximum(1, np.abs(high))
    seen = (low + high) / 2
    largest = np.maximum(np.abs(low * std + mean), np.abs(high * std + mean))
    finest = FARTHEST_STEP / np.maximum(largest, FARTHEST_STEP / LARGEST)
    if feature_scales:
        limit = np.inf if normalizer is None else normalizer.clip_obs
        margin = np.where(is_still, np.maximum(1, 1e-6 * np.abs(seen)), 0)
        low, high = np.maximum(low - margin, -limit), np.minimum(high + margin, limit)
        half = 2 ** (bits - 1)
        wanted = (high - low) / (2 * half - 1)
        inv_scale = np.minimum(1 / (wanted * std), finest).astype(np.float32)
        middle = ((low + high) / 2 * std + mean) * inv_scale.astype(np.float64)
        zero_point = np.rint(-0.5 - middle).astype(
            np.int32
        )  # the middle of the range becomes that of the integers, -0.5
        tensor = QuantTensor(np.float32(1), 0, -half, half - 1)
    else:
        tensor = spanning_tensor(float(low.min()), float(high.max()), bits)
        wanted = np.full(count, np.float64(tensor.scale))
        inv_scale = np.minimum(1 / (wanted * std), finest).astype(np.float32)
        zero_point = np.rint(-mean * inv_scale.astype(np.float64)).astype(np.int32) + np.int32(
            tensor.zero_point
        )
        if normalizer is None:
            return ObservationQuantizer(inv_scale, zero_point, tensor), units
    # The layers read tensor.scale * (q - tensor.zero_point). Their weights get each feature's step,
    # their biases what is left at `seen`:
    # what the rounding of zero_point and of inv_scale took.
    real_step = 1 / (inv_scale.astype(np.float64) * std)
    step = np.where(is_still, np.minimum(real_step, wanted), real_step)
    offset = seen - step * (
        (seen * std + mean) * inv_scale.astype(np.float64) + zero_point - tensor.zero_point
    )
    return ObservationQuantizer(inv_scale, zero_point, tensor), fold_input(
        units, step / np.float64(tensor.scale), offset
    )


def _real_input(
    observation: Observation, graph_obs: NDArray[Any], quantizer: ObservationQuantizer
) -> NDArray[Any]:
    """Return what the folded float units read: pixels / 255, or the unrounded, unclamped values the
    integers stand for.
    """
    if observation.is_image:
        return graph_obs.astype(np.float32) / np.float32(255)
    tensor = quantizer.tensor
    steps = (
        graph_obs.astype(np.float64) * quantizer.inv_scale
        + quantizer.zero_point
        - tensor.zero_point
    )
    normalizer = observation.normalizer
    if normalizer is not None:  # the normaliser's clip, in steps
        limit = np.array([normalizer.clip_obs]) * normalizer.std
        mean = np.array(normalizer.mean, np.float64)
        low, high = (
            (mean + side) * quantizer.inv_scale + quantizer.zero_point - tensor.zero_point
            for side in (-limit, limit)
        )
        steps = np.clip(steps, low, high)
    return steps * np.float64(tensor.scale)


def _quantize_units(
    units: tuple[Unit, ...],
    real: NDArray[Any],
    integers: NDArray[np.int32],
    input_tensor: QuantTensor,
    settings: QuantSettings,
) -> tuple[QuantNode, ...]:
    reals = _float64_results(units, real)
    bits_of = layer_bits(units, settings)
    tensors = plan(units, reals, input_tensor, settings)
    ints: dict[str, NDArray[Any]] = {INPUT: integers}
    nodes = []
    for unit in units:
        output: QuantTensor | None = tensors[unit.name]
        match unit.op:
            case Dense() | Conv2D() | DepthwiseConv2D():
                source = unit.inputs[0]
                is_head = unit is units[-1] and settings.wide_head and unit.relu_max is None
                bits = bits_of[unit.name]
                op = fit_layer(
                    unit,
                    reals[source],
                    ints[source],
                    tensors[source],
                    None if is_head else output,
                    settings,
                    bits,
                )
                if is_head and accumulator_bound(op, tensors[source]).max() < EXACT_FLOAT_BOUND:
                    output = None
                elif is_head:
                    op = fit_layer(
                        unit, reals[source], ints[source], tensors[source], output, settings, bits
                    )
                node = QuantNode(unit.name, op, unit.inputs, output)
            case Activation(function=function):
                assert output is not None
                node = QuantNode(
                    unit.name,
                    function_table(function, tensors[unit.inputs[0]], output),
                    unit.inputs,
                    output,
                )
            case Flatten() | Concat() | Add() | MaxPool2D():
                node = QuantNode(unit.name, unit.op, unit.inputs, output)
        nodes.append(node)
        ints[unit.name] = in_chunks(
            lambda *parts, node=node: apply_integer_op(node, list(parts), tensors.__getitem__),
            [ints[n] for n in unit.inputs],
        )
    return tuple(nodes)


def plan(
    units: tuple[Unit, ...],
    reals: dict[str, NDArray[Any]],
    input_tensor: QuantTensor,
    settings: QuantSettings,
) -> dict[str, QuantTensor]:
    """Return each unit's output tensor by name, as wide as asked for and as 2^24 allows."""
    widths = output_widths(
        units,
        reals,
        input_tensor,
        settings.hidden_bits,
        wide_head=settings.wide_head,
        output_bits=settings.output_bits,
    )
    bits_of = layer_bits(units, settings)
    while True:
        tensors = plan_tensors(units, reals, input_tensor, widths, bits_of)
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
    hidden = [_bits(node.output) for node in policy.nodes[:-1] if node.output is not None]
    inputs = _bits(policy.observation.tensor)
    return Widths(
        weights=min(bits, default=8),
        edges=max(bits[0], bits[-1]) if bits else 8,
        activations=max(hidden) if hidden and max(hidden) < 8 else None,
        inputs=inputs if inputs < 8 else None,
    )


def _bits(tensor: QuantTensor) -> int:
    return int(tensor.qmax - tensor.qmin).bit_length()


def fit_layer(
    unit: Unit,
    real: NDArray[Any],
    integers: NDArray[np.int32],
    tensor: QuantTensor,
    output: QuantTensor | None,
    settings: QuantSettings,
    bits: int = 8,
) -> QuantWeighted:
    """Return the layer's integers, fitted to its float results on the calibration.

    Args:
        real: float [n, ...], the layer's input in the float policy.
        integers: int32 [n, ...], its input as the integer layers before produce it.
        output: None for a wide head.
    """
    assert isinstance(unit.op, Weighted)
    weights: NDArray[np.float64] = unit.op.weights.reshape(len(unit.op.weights), -1).astype(
        np.float64
    )
    bias: NDArray[np.float64] = unit.op.bias.astype(np.float64)
    is_wide = output is None or not output.is_int8 or not tensor.is_int8
    limit = EXACT_FLOAT_BOUND if is_wide else NARROW_BIAS_BOUND
    most = largest_weight(bits)
    inputs, damping = (NARROW_INPUTS, NARROW_DAMPING) if bits < 8 else (COVARIANCE_INPUTS, DAMPING)
    spread = weights
    if bits <= CLIPPED_BITS:
        spread = weights * least_error_share(weights, most)[:, None]
    scale = weight_scales(spread, bias, tensor.scale, limit, most)
    if (
        settings.data_rounding
        and isinstance(unit.op, Dense | Conv2D)
        and weights.shape[1] <= inputs
    ):
        rounded = round_to_data(
            weights, scale, _input_covariance(unit.op, integers, tensor), most, damping
        )
    else:
        rounded = round_nearest(weights, scale, most)
    multiplier = rescale_factor(
        tensor.scale, scale, np.float32(1) if output is None else output.scale
    )
    step = np.float64(tensor.scale) * scale.astype(np.float64)
    if settings.bias_correction:
        bias = _matching_bias(unit.op, rounded, real, integers, tensor, step)
    layer = _layer(unit.op, rounded, np.rint(bias / step).astype(np.int32), multiplier, scale, bits)
    if (
        settings.data_rounding
        and is_wide
        and accumulator_bound(layer, tensor).max() >= EXACT_FLOAT_BOUND
    ):
        # the widths were chosen for weights rounded to the nearest, which may be a little smaller
        return fit_layer(
            unit, real, integers, tensor, output, replace(settings, data_rounding=False), bits
        )
    return layer


def function_table(function: str, tensor: QuantTensor, output: QuantTensor) -> QuantTable:
    """Return the table of an elementwise function between two tensors: the function in double of
    the float32 input, rounded half even.
    """
    inputs = tensor.dequantize(np.arange(tensor.qmin, tensor.qmax + 1))
    exact = activate(function, inputs.astype(np.float64))  # type: ignore[arg-type]
    return QuantTable(function, output.quantize(exact.astype(np.float32)).astype(np.int16))  # type: ignore[arg-type]


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


def _input_covariance(
    op: Weighted, integers: NDArray[np.int32], tensor: QuantTensor
) -> NDArray[np.float64]:
    """Return float64 [in, in]: the covariance of what the layer's weights are multiplied by, from
    at most COVARIANCE_ROWS rows.
    """
    if isinstance(op, Conv2D):
        windows = windows_of(
            integers, op.weights.shape[1:3], op.stride, op.padding, fill=tensor.zero_point
        )
        count = prod(windows.shape[:3])
        every = max(1, count // COVARIANCE_ROWS)
        while gcd(every, count) > 1:  # else the same columns of every image would be taken
            every += 1
        chosen = np.unravel_index(np.arange(0, count, every), windows.shape[:3])
        rows = windows[chosen].transpose(0, 2, 3, 1)
    else:
        rows = integers[:: max(1, len(integers) // COVARIANCE_ROWS)]
    columns = rows.reshape(len(rows), -1) - np.int32(tensor.zero_point)
    return _covariance(columns, tensor.largest_offset)


def _covariance(columns: NDArray[np.int32], largest: int) -> NDArray[np.float64]:
    """Return float64 [in, in]: the covariance of integers [n, in] of at most `largest`, from sums
    that are exact on any machine.
    """
    block = EXACT_FLOAT_BOUND // largest**2  # rows whose products add up exactly in float32
    exact: type[Any] = np.float32 if block > 1 else np.float64
    block = block if block > 1 else len(columns)
    products = np.zeros((columns.shape[1], columns.shape[1]))
    for start in range(0, len(columns), block):
        part = columns[start : start + block].astype(exact)
        products += part.T @ part
    sums = columns.sum(axis=0, dtype=np.int64).astype(np.float64)
    covariance: NDArray[np.float64] = (products * len(columns) - np.outer(sums, sums)) / len(
        columns
    ) ** 2
    return covariance


def _matching_bias(
    op: Weighted,
    rounded: NDArray[np.int8],
    real: NDArray[Any],
    integers: NDArray[np.int32],
    tensor: QuantTensor,
    step: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return float64 [out]: the bias that makes each channel's mean result equal the float layer's.

    A layer is linear, so its mean result is its result for the mean input.
    """
    mean_real = real.mean(axis=0, keepdims=True, dtype=np.float64)
    mean_offset = integers.mean(axis=0, keepdims=True, dtype=np.float64) - tensor.zero_point
    without_bias = replace(
        op, weights=rounded.reshape(op.weights.shape).astype(np.float64), bias=np.zeros(len(step))
    )
    exact, made = apply_op(op, [mean_real]), apply_op(without_bias, [mean_offset])
    positions = tuple(range(exact.ndim - 1))
    bias: NDArray[np.float64] = exact.mean(axis=positions) - made.mean(axis=positions) * step
    return bias


def _layer(
    op: Weighted,
    rounded: NDArray[np.int8],
    bias: NDArray[np.int32],
    multiplier: NDArray[np.float32],
    scale: NDArray[np.float32],
    bits: int,
) -> QuantWeighted:
    weights = rounded.reshape(op.weights.shape)
    match op:
        case Dense():
            return QuantDense(weights, bias, multiplier, scale, bits)
        case Conv2D():
            return QuantConv2D(weights, bias, multiplier, scale, op.stride, op.padding, bits)
        case DepthwiseConv2D():
            return QuantDepthwiseConv2D(weights, bias, multiplier, scale, op.stride, op.padding)


def _float64_results(units: tuple[Unit, ...], real: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return every unit's float64 result by name, `INPUT` included.

    Sums of float32 differ in their last bits from one machine's matrix product to another's, and
    with them scales and biases.
    """
    values: dict[str, NDArray[Any]] = {INPUT: real}
    for unit in units:
        values[unit.name] = in_chunks(
            lambda *parts, unit=unit: run_unit(
                unit, [part.astype(np.float64, copy=False) for part in parts]
            ),
            [values[name] for name in unit.inputs],
        )
    return values


def _peaks(units: tuple[Unit, ...], real: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    values = _float64_results(units, real)
    return {
        unit.name: np.abs(values[unit.name]).max(axis=tuple(range(values[unit.name].ndim - 1)))
        for unit in units
    }
