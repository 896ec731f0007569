"""Quantise: a policy and the observations it meets become the integers of every artifact.

Post-training int8 with per-channel weights and per-tensor activations, layer by layer: each layer
is fitted to the float layer's results on the integers that the layers before it really produce.
What is done beyond plain rounding is said by `QuantSettings`; `ladder.py` names the useful sets.
Method and measured gains: toolchain/docs/quantizer.md.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import partial
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
from quarl.graph.state import QuantState
from quarl.quantize.bit_widths import fitting_widths, output_widths
from quarl.quantize.calibration import Calibration
from quarl.quantize.folding import Folded, Results, float64_results, fold, in_chunks
from quarl.quantize.kept import Kept
from quarl.quantize.layer_fit import LayerInput, fit_layer
from quarl.quantize.loops import Loops, is_narrow_copy
from quarl.quantize.qparams import plan_tensors
from quarl.quantize.settings import QuantSettings
from quarl.quantize.transforms import Unit
from quarl.quantize.widths import Widths

BYTES_KEPT = 1 << 26  # of foldings, and of what layers give, for settings that share them


def quantize(
    policy: Policy, calibration: Calibration, settings: QuantSettings, rung: int
) -> QuantPolicy:
    """Return the policy in integers.

    Raises:
        QuantizationError: a limit of the arithmetic would be broken; names layer and channel.
        UnsupportedError: a concat or add of pixels with other values.
    """
    return Quantizer(policy, calibration).quantize(settings, rung)


class Quantizer:
    """Quantises one policy on one calibration, again and again: what two settings share is computed
    once, a folding or the first layers.
    """

    def __init__(self, policy: Policy, calibration: Calibration) -> None:
        self._policy, self._calibration = policy, calibration
        self._foldings: Kept[tuple[Folded, Results]] = Kept(BYTES_KEPT, _size_of_folding)
        self._layers: Kept[tuple[QuantNode, NDArray[Any]]] = Kept(BYTES_KEPT, _size_of_layer)
        self._numbers: dict[Hashable, int] = {}  # of what a layer's integers depend on

    def quantize(self, settings: QuantSettings, rung: int) -> QuantPolicy:
        """Return what the function `quantize` returns."""
        policy = self._policy
        way = settings.of_folding()
        if policy.contract.observation.is_image:
            way = replace(way, input_bits=8, feature_scales=False)  # pixels have one form
        folded, reals = self._foldings.of(way, lambda: self._folded(settings))
        nodes, tensors = self._quantized(way, folded, reals, settings)
        states = zip(policy.contract.state, policy.next_state, strict=True)
        return QuantPolicy(
            folded.observation,
            nodes,
            policy.contract,
            rung,
            policy.source_sha256,
            state=tuple(QuantState(s.name, tensors[s.tensor_name], made) for s, made in states),
        )

    def _folded(self, settings: QuantSettings) -> tuple[Folded, Results]:
        """Return the folded policy and each unit's float64 result."""
        folded = fold(self._policy, self._calibration, settings)
        return folded, float64_results(folded.units, folded.real, folded.state)

    def _quantized(
        self, way: QuantSettings, folded: Folded, reals: Results, settings: QuantSettings
    ) -> tuple[tuple[QuantNode, ...], dict[str, QuantTensor]]:
        """Return the nodes, and the tensors by name.

        Args:
            way: what the folding is known by.
        """
        bits_of = layer_bits(folded.units, settings)
        tensors = plan(folded.units, reals, folded.observation.tensor, settings, folded.loops)
        ints: dict[str, NDArray[Any]] = {INPUT: folded.integers}
        for name, values in folded.state.items():
            ints[name] = tensors[name].quantize(values)
        numbers = {name: self._number((way, name, tensors[name])) for name in ints}
        nodes = []
        for unit in folded.units:
            rounding = _Rounding(
                bits_of.get(unit.name, 8),
                is_wide_head=unit is folded.units[-1] and settings.wide_head,
                settings=settings.of_layers(),
            )
            names = (unit.name, *unit.inputs)
            scales = tuple(tensors[name] for name in names)
            before = tuple(numbers[name] for name in unit.inputs)
            number = numbers[unit.name] = self._number((way, unit.name, rounding, scales, before))
            make = partial(_rounded, unit, rounding, reals, ints, tensors)
            node, ints[unit.name] = self._layers.of(number, make)
            nodes.append(node)
        return tuple(nodes), tensors

    def _number(self, what: Hashable) -> int:
        return self._numbers.setdefault(what, len(self._numbers))


@dataclass(frozen=True, slots=True)
class _Rounding:
    """How one layer is rounded."""

    bits: int  # of its weights
    is_wide_head: bool
    settings: QuantSettings


def _rounded(
    unit: Unit,
    rounding: _Rounding,
    reals: Results,
    ints: Mapping[str, NDArray[Any]],
    tensors: Mapping[str, QuantTensor],
) -> tuple[QuantNode, NDArray[Any]]:
    """Return a unit in integers, and its integers for the calibration."""
    output: QuantTensor | None = tensors[unit.name]
    match unit.op:
        case Dense() | Conv2D() | DepthwiseConv2D():
            source = unit.inputs[0]
            is_head = rounding.is_wide_head and unit.relu_max is None
            seen = LayerInput(reals[source], ints[source], tensors[source])
            settings, bits = rounding.settings, rounding.bits
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
    made = in_chunks(
        lambda *parts: apply_integer_op(node, list(parts), tensors.__getitem__),
        [ints[name] for name in unit.inputs],
    )
    return node, made


def _size_of_folding(made: tuple[Folded, Results]) -> int:
    """Return the bytes of the results, beside which the rest is small."""
    return sum(int(values.nbytes) for values in made[1].values())


def _size_of_layer(made: tuple[QuantNode, NDArray[Any]]) -> int:
    node, integers = made
    weights = node.op.weights.nbytes if isinstance(node.op, QuantDense | QuantConv2D) else 0
    return int(integers.nbytes + weights)


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
