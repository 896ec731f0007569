"""Where quantisation costs what: each layer's range, clipping and noise, and the share of input,
weights and activations in the decisions.

In: the source, its integers, held-out observations. Out: frozen figures, written into the bundle as
quantization.json.
The integers are run twice: as every target runs them, and with the same weights but without
rounding or clamping any activation (`run_unrounded`). What separates the two is the activations'
doing; what separates the second from the source is the weights'.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quarl.files.documents import Document, decode
from quarl.graph.contract import Contract
from quarl.graph.litert_ops import QuantAdd, QuantAveragePool2D, QuantMean
from quarl.graph.policy import (
    INPUT,
    Add,
    Columns,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    MaxPool2D,
    Policy,
    activate,
    apply_op,
    max_pool,
)
from quarl.graph.quant_policy import (
    QuantConv2D,
    QuantDense,
    QuantMul,
    QuantNode,
    QuantPolicy,
    QuantRescale,
    QuantTable,
    QuantTensor,
    QuantWeighted,
    weight_bits,
)
from quarl.graph.reference import (
    quantize_observations,
    real_outputs,
    real_state,
    run_integers,
)
from quarl.graph.rows import join_rows, split_rows, state_parts
from quarl.quantize.ladder import decision_loss

DOCUMENT = Document("a report on quantisation", 1, "export the bundle again")
VECTORS, IMAGES = 1024, 32  # observations looked at
DIGITS = 4  # significant; the last ones of a sum differ between processors

Part = Literal["input", "weights", "activations", "all"]


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer's output on the observations; ranges are in the units of the layer's own output."""

    layer: str
    operation: str
    bits: int | None  # None: a wide head, which has no output step
    low: float | None  # what the integers can say
    high: float | None
    seen_low: float  # what the layer gives when nothing is rounded
    seen_high: float
    # share of values outside what the integers can say, 0..1; the clamp of a ReLU does not count
    clip_rate: float
    sqnr_db: (
        float | None
    )  # signal to what rounding activations up to here adds; None: nothing was added
    weight_bits: int | None = None  # None: a layer without weights


@dataclass(frozen=True, slots=True)
class PartReport:
    """What one part alone does to the decisions."""

    part: Part
    # value lost per decision (discrete) or mean action error (box), in the policy's units
    decision_error: float
    changed: float  # share of the observations whose action changes at all, 0..1


@dataclass(frozen=True, slots=True)
class QuantReport:
    """Where quantisation costs what."""

    observations: int
    layers: tuple[LayerReport, ...]
    parts: tuple[PartReport, ...]

    @staticmethod
    def from_json(text: str) -> QuantReport:
        """Return the report written by `to_json`.

        Raises:
            InputError: not a report, or one of another format.
        """
        return decode(QuantReport, text.encode("utf-8", "replace"), "quantization.json", DOCUMENT)

    def to_json(self) -> str:
        """Return canonical JSON, numbers rounded to four significant digits."""
        return (
            json.dumps(
                _rounded({"format": DOCUMENT.format, **asdict(self)}), indent=1, sort_keys=True
            )
            + "\n"
        )


def quant_report(source: Policy, quantized: QuantPolicy, obs: NDArray[Any]) -> QuantReport:
    """Return the report on observations [n, *shape] in environment units; of many, evenly spaced
    ones are taken.
    """
    obs = obs[:: _step(source.contract, len(obs))]
    integers = quantize_observations(quantized, obs)
    rounded = run_integers(quantized, integers)
    unrounded = run_unrounded(
        quantized, unrounded_input(quantized, obs), unrounded_state(quantized, obs)
    )
    layers = tuple(
        _layer(node, rounded[node.name], unrounded[node.name])
        for node in quantized.nodes
        if not isinstance(node.op, Flatten | Columns)
    )
    last = quantized.nodes[-1]
    exact = source.outputs(obs)
    made: dict[Part, NDArray[Any]] = {
        "input": source.outputs(_seen_observations(quantized, obs, integers)),
        "weights": _real(last.output, unrounded[last.name]),
        "all": real_outputs(quantized, rounded[last.name]),
    }
    parts = [_part(source, part, exact, outputs) for part, outputs in made.items()]
    activations = _part(source, "activations", made["weights"].astype(np.float32), made["all"])
    return QuantReport(len(obs), layers, (parts[0], parts[1], activations, parts[2]))


def looked_at(contract: Contract, count: int) -> int:
    """Return how many of `count` observations a report is on."""
    return len(range(0, count, _step(contract, count)))


def _step(contract: Contract, count: int) -> int:
    most = IMAGES if contract.observation.has_pixels else VECTORS
    return max(1, -(-count // most))


def unrounded_input(quantized: QuantPolicy, obs: NDArray[Any]) -> NDArray[np.float64]:
    """Return float64 [n, *graph_shape]: the graph's integers before rounding and clamping."""
    plain = split_rows(quantized.contract, obs)[0]
    values = quantized.contract.observation.to_graph(plain).astype(np.float64)
    quantizer = quantized.observation
    return (
        values - 128 if quantizer.is_pixels else values * quantizer.inv_scale + quantizer.zero_point
    )


def unrounded_state(quantized: QuantPolicy, rows: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Return float64 [n, length] by name: the states' integers before rounding and clamping."""
    state = split_rows(quantized.contract, rows)[1].astype(np.float64)
    parts = state_parts(quantized.contract, state)
    tensors = {one.tensor_name: one.tensor for one in quantized.state}
    return {
        name: part / np.float64(tensors[name].scale) + tensors[name].zero_point
        for name, part in parts.items()
    }


def run_unrounded(
    quantized: QuantPolicy,
    graph_input: NDArray[np.float64],
    state: Mapping[str, NDArray[np.float64]] = MappingProxyType({}),
) -> Mapping[str, NDArray[np.float64]]:
    """Return every node's float64 result in steps of its tensor (real units for a wide head).

    Nothing is rounded or clamped, but for a ReLU, which still clamps at zero.
    """
    values: dict[str, NDArray[np.float64]] = {INPUT: graph_input, **state}
    for node in quantized.nodes:
        inputs = [values[name] for name in node.inputs]
        match node.op:
            case QuantTable(function=function):
                assert node.output is not None
                assert function != "identity", (
                    f"{node.name}: the quantiser changes no scale between layers"
                )
                exact = activate(function, _real(quantized.tensor(node.inputs[0]), inputs[0]))
                values[node.name] = exact / np.float64(node.output.scale) + node.output.zero_point
            case QuantMul() | QuantRescale():
                assert node.output is not None
                sources = [quantized.tensor(name) for name in node.inputs]
                parts = [x - t.zero_point for x, t in zip(inputs, sources, strict=True)]
                product = math.prod(parts[1:], start=parts[0])
                values[node.name] = product * node.op.multiplier + node.output.zero_point
            case Flatten() | Columns():
                values[node.name] = apply_op(node.op, inputs)
            case MaxPool2D():
                values[node.name] = max_pool(node.op, inputs[0])
            case Concat():
                values[node.name] = np.concatenate(inputs, axis=-1)
            case Add():
                assert node.output is not None
                values[node.name] = inputs[0] + inputs[1] - node.output.zero_point
            case QuantAveragePool2D() | QuantMean() | QuantAdd():
                raise AssertionError(
                    f"{node.name}: the quantiser writes no {type(node.op).__name__}"
                )
            case _:
                offsets = inputs[0] - quantized.tensor(node.inputs[0]).zero_point
                products: NDArray[np.float64] = apply_op(
                    _float_layer(node.op), [offsets]
                ) * node.op.multiplier.astype(np.float64)
                values[node.name] = (
                    products
                    if node.output is None
                    else _relu(products + node.output.zero_point, node.output)
                )
    return values


def _float_layer(op: QuantWeighted) -> Dense | Conv2D | DepthwiseConv2D:
    weights, bias = op.weights.astype(np.float64), op.bias.astype(np.float64)
    if isinstance(op, QuantDense):
        return Dense(weights, bias)
    if isinstance(op, QuantConv2D):
        return Conv2D(weights, bias, op.stride, op.padding)
    return DepthwiseConv2D(weights, bias, op.stride, op.padding)


def _relu(values: NDArray[np.float64], tensor: QuantTensor) -> NDArray[np.float64]:
    return np.maximum(values, tensor.zero_point) if tensor.qmin == tensor.zero_point else values


def _real(tensor: QuantTensor | None, steps: NDArray[np.float64]) -> NDArray[np.float64]:
    return steps if tensor is None else (steps - tensor.zero_point) * np.float64(tensor.scale)


def _seen_observations(
    quantized: QuantPolicy, obs: NDArray[Any], integers: NDArray[np.int32]
) -> NDArray[Any]:
    """Return the observations as the integers tell them, in environment units; pixels are told
    exactly.
    """
    quantizer = quantized.observation
    if quantizer.is_pixels:
        return obs
    own = integers[:, : quantizer.inv_scale.size]
    seen = (own - quantizer.zero_point) / quantizer.inv_scale.astype(np.float64)
    if not quantized.state:
        return seen.astype(np.float32)
    return join_rows(seen, real_state(quantized, integers[:, own.shape[1] :]))


def _layer(node: QuantNode, rounded: NDArray[Any], unrounded: NDArray[np.float64]) -> LayerReport:
    tensor = node.output
    exact = _real(tensor, unrounded)
    made = (
        rounded.astype(np.float64)
        if tensor is None
        else tensor.dequantize(rounded).astype(np.float64)
    )
    noise, signal = float(np.square(made - exact).sum()), float(np.square(exact).sum())
    sqnr_db = None if noise == 0 or signal == 0 else 10 * math.log10(signal / noise)
    report = LayerReport(
        node.name,
        type(node.op).__name__.removeprefix("Quant").lower(),
        None,
        None,
        None,
        float(exact.min()),
        float(exact.max()),
        0.0,
        sqnr_db,
        weight_bits(node.op) if isinstance(node.op, QuantWeighted) else None,
    )
    if tensor is None:
        return report
    is_outside = (unrounded > tensor.qmax + 0.5) | (unrounded < tensor.qmin - 0.5)
    low, high = (float(value) for value in tensor.dequantize(np.array([tensor.qmin, tensor.qmax])))
    return replace(
        report,
        bits=(tensor.qmax - tensor.qmin).bit_length(),
        low=low,
        high=high,
        clip_rate=float(is_outside.mean()),
    )


def _part(source: Policy, part: Part, exact: NDArray[Any], made: NDArray[Any]) -> PartReport:
    action = source.contract.action
    wanted, found = action.decode(exact), action.decode(made.astype(np.float32))
    changed = (wanted != found).reshape(len(wanted), -1).any(axis=1)
    return PartReport(
        part, decision_loss(action, exact, made.astype(np.float32)), float(changed.mean())
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
