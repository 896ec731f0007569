"""Random quantised policies for the exactness tests: every operation, narrow and wide, with accumulators near rounding ties.

Weights and scales are random, the limits of the arithmetic are kept by construction: `multiplier` is chosen so that the
accumulators' spread fills the output range and a share of the products falls next to a half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quarl.contract import Action, Contract, Observation
from quarl.policy import INPUT, Add, Concat, Flatten, Function, Padding, activate
from quarl.quant_policy import (
    ObservationQuantizer,
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantNode,
    QuantOp,
    QuantPolicy,
    QuantTable,
    QuantTensor,
)
from quarl.rescale import rescale_factor

Kind = Literal["conv", "depthwise"]
NO_PADDING: Padding = ((0, 0), (0, 0))
TANH_TENSOR = QuantTensor(np.float32(1 / 128), 0)
SIGMOID_TENSOR = QuantTensor(np.float32(1 / 256), -128)


def wide_tensor(bits: int, scale: float = 1.0, zero_point: int = 0) -> QuantTensor:
    """Return a tensor of that many bits, symmetric around 0."""
    return QuantTensor(np.float32(scale), zero_point, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@dataclass
class Builder:
    """Adds random layers one after another; `names[-1]` is the newest."""

    rng: np.random.Generator
    shape: tuple[int, ...]
    tensor: QuantTensor = field(default_factory=lambda: QuantTensor(np.float32(0.03), 3))
    nodes: list[QuantNode] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.input_tensor = self.tensor
        self.shapes: dict[str, tuple[int, ...]] = {INPUT: self.shape}
        self.tensors: dict[str, QuantTensor | None] = {INPUT: self.tensor}
        self.newest = INPUT

    def output(self, scale: float = 0.05, zero_point: int | None = None, qmin: int = -128, qmax: int = 127) -> QuantTensor:
        """Return an int8 tensor with a random zero point."""
        return QuantTensor(np.float32(scale), int(self.rng.integers(-128, 128)) if zero_point is None else zero_point, qmin, qmax)

    def dense(self, count: int, target: QuantTensor | None, *, source: str | None = None, name: str | None = None) -> str:
        """Add a dense layer; `target` None makes a wide head."""
        source = source or self.newest
        weights = self._weights((count, self.shapes[source][0]), source, target)
        bias, weight_scale, multiplier = self._rest(weights, source, target)
        return self._append(QuantDense(weights, bias, multiplier, weight_scale), (source,), target, (count,), name)

    def window(
        self, kind: Kind, count: int, kernel: tuple[int, int], stride: tuple[int, int], padding: Padding, target: QuantTensor | None
    ) -> str:
        """Add a convolution; `count` is ignored for a depthwise one."""
        rows, cols, channels = self.shapes[self.newest]
        count = channels if kind == "depthwise" else count
        shape = (count, *kernel) if kind == "depthwise" else (count, *kernel, channels)
        weights = self._weights(shape, self.newest, target)
        bias, weight_scale, multiplier = self._rest(weights, self.newest, target)
        size = [(length + sum(padding[a]) - kernel[a]) // stride[a] + 1 for a, length in enumerate((rows, cols))]
        layer = QuantDepthwiseConv2D if kind == "depthwise" else QuantConv2D
        op = layer(weights, bias, multiplier, weight_scale, stride, padding)
        return self._append(op, (self.newest,), target, (size[0], size[1], count))

    def table(self, function: Function, target: QuantTensor, *, source: str | None = None) -> str:
        """Add a function as the table that the quantiser would write, or a random one for "relu"."""
        source = source or self.newest
        tensor = self.tensors[source]
        assert tensor is not None
        integers = np.arange(tensor.qmin, tensor.qmax + 1)
        if function == "relu":
            entries = self.rng.integers(target.qmin, target.qmax + 1, integers.size)
        else:
            reals = ((integers - tensor.zero_point).astype(np.float32) * tensor.scale).astype(np.float64)
            values = activate(function, reals).astype(np.float32) / target.scale
            entries = np.clip(np.rint(values) + target.zero_point, target.qmin, target.qmax)
        return self._append(QuantTable(function, entries.astype(np.int16)), (source,), target, self.shapes[source])

    def flatten(self) -> str:
        """Add a flatten."""
        return self._append(Flatten(), (self.newest,), self.tensors[self.newest], (int(np.prod(self.shapes[self.newest])),))

    def concat(self, sources: Sequence[str]) -> str:
        """Join nodes of equal tensors."""
        first = self.shapes[sources[0]]
        shape = (*first[:-1], sum(self.shapes[s][-1] for s in sources))
        return self._append(Concat(), tuple(sources), self.tensors[sources[0]], shape)

    def add(self, a: str, b: str) -> str:
        """Add two nodes of equal tensors."""
        return self._append(Add(), (a, b), self.tensors[a], self.shapes[a])

    def build(self) -> QuantPolicy:
        """Return the policy with a contract that fits its shapes."""
        count = self.shapes[self.newest][0]
        layout = "vector" if len(self.shape) == 1 else "hwc"
        observation = Observation(self.shape, "float32" if layout == "vector" else "uint8", layout)
        features = self.shape[0] if layout == "vector" else 0
        quantizer = ObservationQuantizer(
            np.full(features, 1 / self.input_tensor.scale, np.float32),
            np.full(features, self.input_tensor.zero_point, np.int32),
            self.input_tensor,
        )
        return QuantPolicy(quantizer, tuple(self.nodes), Contract(observation, Action("discrete", count)), 0, "0" * 64)

    def _append(
        self, op: QuantOp, inputs: tuple[str, ...], target: QuantTensor | None, shape: tuple[int, ...], name: str | None = None
    ) -> str:
        name = name or f"layer{len(self.nodes)}"
        self.nodes.append(QuantNode(name, op, inputs, target))
        self.shapes[name], self.tensors[name], self.newest = shape, target, name
        return name

    def _is_wide(self, source: str, target: QuantTensor | None) -> bool:
        tensor = self.tensors[source]
        assert tensor is not None
        return target is None or not target.is_int8 or not tensor.is_int8

    def _weights(self, shape: tuple[int, ...], source: str, target: QuantTensor | None) -> NDArray[np.int8]:
        """Return int8 weights, shrunk where a wide layer's sums would leave float32's exact range."""
        tensor = self.tensors[source]
        assert tensor is not None
        largest = 127
        if self._is_wide(source, target):
            largest = int(min(127, 0.9 * 2**24 / (np.prod(shape[1:]) * tensor.largest_offset)))
        return self.rng.integers(-largest, largest + 1, shape).astype(np.int8)

    def _rest(
        self, weights: NDArray[np.int8], source: str, target: QuantTensor | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """Return bias, weight_scale and multiplier: powers of two, short fractions and plain ones, so that ties are met often."""
        tensor = self.tensors[source]
        assert tensor is not None
        fan_in, count = int(np.prod(weights.shape[1:])), len(weights)
        spread = float(np.abs(weights.astype(np.int64)).max()) * np.sqrt(fan_in) * tensor.largest_offset / 3 + 1
        bias = self.rng.integers(-int(spread / 2), int(spread / 2) + 1, count).astype(np.int32)
        width = 256 if target is None else target.qmax - target.qmin
        multiplier = (width / spread / 4) * np.exp2(self.rng.uniform(-1, 1, count))
        kind = self.rng.integers(0, 3, count)
        multiplier = np.where(kind == 0, np.exp2(np.round(np.log2(multiplier))), multiplier)
        short = np.exp2(np.ceil(np.log2(multiplier)) - 5)
        multiplier = np.where(kind == 1, np.maximum(np.round(multiplier / short), 1) * short, multiplier)
        out_scale = np.float32(1) if target is None else target.scale
        weight_scale = (multiplier * float(out_scale) / float(tensor.scale)).astype(np.float32)
        return bias, weight_scale, rescale_factor(tensor.scale, weight_scale, out_scale)


def random_integers(policy: QuantPolicy, rng: np.random.Generator, count: int) -> NDArray[np.int16]:
    """Return graph inputs int8 or int16 [count, ...]: uniform, and a share at the two ends of the range."""
    tensor = policy.observation.tensor
    shape = (count, *policy.contract.observation.graph_shape)
    integers = rng.integers(tensor.qmin, tensor.qmax + 1, shape)
    integers[::8] = rng.choice([tensor.qmin, tensor.qmax], integers[::8].shape)
    return integers.astype(np.int8 if tensor.is_int8 else np.int16)
