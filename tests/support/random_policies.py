"""Random quantised policies for the exactness tests: every operation, narrow and wide, with
accumulators near rounding ties.

Weights and scales are random, the limits of the arithmetic are kept by construction: `multiplier`
is chosen so that the accumulators' spread fills the output range and a share of the products falls
next to a half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.litert_ops import QuantAveragePool2D, QuantMean, add_multipliers, mean_multiplier
from quarl.graph.policy import (
    INPUT,
    Add,
    Columns,
    Concat,
    Flatten,
    Function,
    MaxPool2D,
    Padding,
    activate,
)
from quarl.graph.quant_policy import (
    ObservationQuantizer,
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantMul,
    QuantNode,
    QuantOp,
    QuantPolicy,
    QuantRescale,
    QuantTable,
    QuantTensor,
)
from quarl.graph.rescale import product_factor, rescale_factor

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

    def output(
        self, scale: float = 0.05, zero_point: int | None = None, qmin: int = -128, qmax: int = 127
    ) -> QuantTensor:
        """Return an int8 tensor with a random zero point."""
        return QuantTensor(
            np.float32(scale),
            int(self.rng.integers(-128, 128)) if zero_point is None else zero_point,
            qmin,
            qmax,
        )

    @property
    def is_narrow(self) -> bool:
        """Whether the newest tensor is int8."""
        tensor = self.tensors[self.newest]
        return tensor is not None and tensor.is_int8

    def dense(
        self,
        count: int,
        target: QuantTensor | None,
        *,
        source: str | None = None,
        name: str | None = None,
        weight_bits: int = 8,
    ) -> str:
        """Add a dense layer; `target` None makes a wide head."""
        source = source or self.newest
        weights = self._weights((count, self.shapes[source][0]), source, target, weight_bits)
        bias, weight_scale, multiplier = self._rest(weights, source, target)
        return self._append(
            QuantDense(weights, bias, multiplier, weight_scale, weight_bits),
            (source,),
            target,
            (count,),
            name,
        )

    def window(
        self,
        kind: Kind,
        count: int,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: Padding,
        target: QuantTensor | None,
        weight_bits: int = 8,
    ) -> str:
        """Add a convolution; `count` is ignored for a depthwise one."""
        rows, cols, channels = self.shapes[self.newest]
        count = channels if kind == "depthwise" else count
        shape = (count, *kernel) if kind == "depthwise" else (count, *kernel, channels)
        weights = self._weights(
            shape, self.newest, target, 8 if kind == "depthwise" else weight_bits
        )
        bias, weight_scale, multiplier = self._rest(weights, self.newest, target)
        size = [
            (length + sum(padding[a]) - kernel[a]) // stride[a] + 1
            for a, length in enumerate((rows, cols))
        ]
        op: QuantOp = QuantConv2D(
            weights, bias, multiplier, weight_scale, stride, padding, weight_bits
        )
        if kind == "depthwise":
            op = QuantDepthwiseConv2D(weights, bias, multiplier, weight_scale, stride, padding)
        return self._append(op, (self.newest,), target, (size[0], size[1], count))

    def pool(
        self,
        kind: Literal["max", "average"],
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: Padding,
    ) -> str:
        """Add a pooling, now and then one that clamps."""
        rows, cols, channels = self.shapes[self.newest]
        size = [
            (length + sum(padding[a]) - kernel[a]) // stride[a] + 1
            for a, length in enumerate((rows, cols))
        ]
        target = self.tensors[self.newest]
        assert target is not None
        if self.rng.random() < 0.3:
            target = replace(target, qmin=target.qmin + 20, qmax=target.qmax - 15)
        op: QuantOp = (
            MaxPool2D(kernel, stride, padding)
            if kind == "max"
            else QuantAveragePool2D(kernel, stride, padding)
        )
        return self._append(op, (self.newest,), target, (size[0], size[1], channels))

    def mean(self, target: QuantTensor, *, keeps_axes: bool = False) -> str:
        """Add a mean over height and width."""
        rows, cols, channels = self.shapes[self.newest]
        source = self.tensors[self.newest]
        assert source is not None
        op = QuantMean(mean_multiplier(source, target, rows * cols), keeps_axes)
        return self._append(
            op, (self.newest,), target, (1, 1, channels) if keeps_axes else (channels,)
        )

    def scaled_add(self, a: str, b: str, target: QuantTensor) -> str:
        """Add two nodes of any scales."""
        first, second = self.tensors[a], self.tensors[b]
        assert first is not None
        assert second is not None
        op = add_multipliers(first, second, target)
        assert op is not None
        return self._append(op, (a, b), target, self.shapes[a])

    def table(self, function: Function, target: QuantTensor, *, source: str | None = None) -> str:
        """Add a function as the table that the quantiser would write, or a random one for
        "relu".
        """
        source = source or self.newest
        tensor = self.tensors[source]
        assert tensor is not None
        integers = np.arange(tensor.qmin, tensor.qmax + 1)
        if function == "relu":
            entries = self.rng.integers(target.qmin, target.qmax + 1, integers.size)
        else:
            reals = ((integers - tensor.zero_point).astype(np.float32) * tensor.scale).astype(
                np.float64
            )
            values = activate(function, reals).astype(np.float32) / target.scale
            entries = np.clip(np.rint(values) + target.zero_point, target.qmin, target.qmax)
        return self._append(
            QuantTable(function, entries.astype(np.int16)), (source,), target, self.shapes[source]
        )

    def flatten(self) -> str:
        """Add a flatten."""
        return self._append(
            Flatten(),
            (self.newest,),
            self.tensors[self.newest],
            (int(np.prod(self.shapes[self.newest])),),
        )

    def columns(self, first: int, shape: tuple[int, ...]) -> str:
        """Add some of the input's values."""
        return self._append(Columns(first, shape), (INPUT,), self.input_tensor, shape)

    def concat(self, sources: Sequence[str]) -> str:
        """Join nodes of equal tensors."""
        first = self.shapes[sources[0]]
        shape = (*first[:-1], sum(self.shapes[s][-1] for s in sources))
        return self._append(Concat(), tuple(sources), self.tensors[sources[0]], shape)

    def add(self, a: str, b: str) -> str:
        """Add two nodes of equal tensors."""
        return self._append(Add(), (a, b), self.tensors[a], self.shapes[a])

    def mul(self, a: str, b: str, target: QuantTensor) -> str:
        """Multiply two nodes; the factor follows from the scales."""
        return self._append(QuantMul(self._factor((a, b), target)), (a, b), target, self.shapes[a])

    def rescaled(self, source: str, target: QuantTensor) -> str:
        """Add a change of scale."""
        op = QuantRescale(self._factor((source,), target))
        return self._append(op, (source,), target, self.shapes[source])

    def _factor(self, names: tuple[str, ...], target: QuantTensor) -> float:
        tensors = [self.tensors[name] for name in names]
        scales = [tensor.scale for tensor in tensors if tensor is not None]
        return float(product_factor(scales, target.scale))

    def build(self) -> QuantPolicy:
        """Return the policy with a contract that fits its shapes."""
        count = self.shapes[self.newest][0]
        layout: Literal["vector", "hwc"] = "vector" if len(self.shape) == 1 else "hwc"
        observation = Observation(self.shape, "float32" if layout == "vector" else "uint8", layout)
        features = self.shape[0] if layout == "vector" else 0
        quantizer = ObservationQuantizer(
            np.full(features, 1 / self.input_tensor.scale, np.float32),
            np.full(features, self.input_tensor.zero_point, np.int32),
            self.input_tensor,
        )
        return QuantPolicy(
            quantizer,
            tuple(self.nodes),
            Contract(observation, Action("discrete", count)),
            0,
            "0" * 64,
        )

    def _append(
        self,
        op: QuantOp,
        inputs: tuple[str, ...],
        target: QuantTensor | None,
        shape: tuple[int, ...],
        name: str | None = None,
    ) -> str:
        name = name or f"layer{len(self.nodes)}"
        self.nodes.append(QuantNode(name, op, inputs, target))
        self.shapes[name], self.tensors[name], self.newest = shape, target, name
        return name

    def _is_wide(self, source: str, target: QuantTensor | None) -> bool:
        tensor = self.tensors[source]
        assert tensor is not None
        return target is None or not target.is_int8 or not tensor.is_int8

    def _weights(
        self, shape: tuple[int, ...], source: str, target: QuantTensor | None, weight_bits: int
    ) -> NDArray[np.int8]:
        """Return int8 weights, shrunk where a wide layer's sums would leave float32's exact
        range.
        """
        tensor = self.tensors[source]
        assert tensor is not None
        largest = 2 ** (weight_bits - 1) - 1
        if self._is_wide(source, target):
            largest = int(min(largest, 0.9 * 2**24 / (np.prod(shape[1:]) * tensor.largest_offset)))
        return self.rng.integers(-largest, largest + 1, shape).astype(np.int8)

    def _rest(
        self, weights: NDArray[np.int8], source: str, target: QuantTensor | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """Return bias, weight_scale and multiplier: powers of two, short fractions and plain ones,
        so that ties are met often.
        """
        tensor = self.tensors[source]
        assert tensor is not None
        fan_in, count = int(np.prod(weights.shape[1:])), len(weights)
        spread = (
            float(np.abs(weights.astype(np.int64)).max())
            * np.sqrt(fan_in)
            * tensor.largest_offset
            / 3
            + 1
        )
        bias = self.rng.integers(-int(spread / 2), int(spread / 2) + 1, count).astype(np.int32)
        width = 256 if target is None else target.qmax - target.qmin
        multiplier = (width / spread / 4) * np.exp2(self.rng.uniform(-0.5, 2.5, count))
        kind = self.rng.integers(0, 3, count)
        multiplier = np.where(kind == 0, np.exp2(np.round(np.log2(multiplier))), multiplier)
        short = np.exp2(np.ceil(np.log2(multiplier)) - 5)
        multiplier = np.where(
            kind == 1, np.maximum(np.round(multiplier / short), 1) * short, multiplier
        )
        out_scale = np.float32(1) if target is None else target.scale
        weight_scale = (multiplier * float(out_scale) / float(tensor.scale)).astype(np.float32)
        return bias, weight_scale, rescale_factor(tensor.scale, weight_scale, out_scale)


def random_integers(policy: QuantPolicy, rng: np.random.Generator, count: int) -> NDArray[np.int16]:
    """Return graph inputs int8 or int16 [count, ...]: uniform, and a share at the two ends of the
    range.
    """
    tensor = policy.observation.tensor
    shape = (count, *policy.contract.observation.graph_shape)
    integers = rng.integers(tensor.qmin, tensor.qmax + 1, shape)
    integers[::8] = rng.choice([tensor.qmin, tensor.qmax], integers[::8].shape)
    return integers.astype(np.int8 if tensor.is_int8 else np.int16)


def near_tie_policy(
    rng: np.random.Generator, channels: int, source: QuantTensor, target: QuantTensor
) -> QuantPolicy:
    """Return one dense layer of one feature whose products fall within 2e-5 of a half for many of
    the inputs.

    The weight moves the accumulator by whole steps; the bias is the accumulator nearest to a tie,
    found by search, minus one of them.
    """
    weight_scale = (
        np.exp2(rng.uniform(-12, -1, channels)) * float(target.scale) / float(source.scale)
    ).astype(np.float32)
    multiplier = rescale_factor(source.scale, weight_scale, target.scale)
    halves = np.abs(target.zero_point + 0.5 + rng.integers(-100, 100, (64, channels)))
    candidates = np.rint(halves / multiplier).astype(np.int64)
    distance = np.abs(candidates * multiplier.astype(np.float64) % 1 - 0.5)
    best = candidates[distance.argmin(axis=0), np.arange(channels)]
    weights = np.minimum(127, np.maximum(1, np.rint(1 / multiplier))).astype(np.int8)[:, None]
    feature = int(rng.integers(source.qmin, source.qmax + 1))
    bias = (best - weights[:, 0].astype(np.int64) * (feature - source.zero_point)).astype(np.int32)
    builder = Builder(rng, (1,), source)
    builder._append(
        QuantDense(weights, bias, multiplier, weight_scale), (INPUT,), target, (channels,)
    )
    return builder.build()


def _dense_chain(b: Builder) -> None:
    b.dense(64, b.output(zero_point=-128))
    b.dense(48, b.output())
    b.dense(8, b.output())


def _clamps(b: Builder) -> None:
    zero_point = int(b.rng.integers(-100, 100))
    b.dense(64, b.output(zero_point=zero_point, qmin=zero_point))
    b.dense(48, b.output(qmin=-100, qmax=90))
    b.dense(8, b.output(zero_point=-128, qmax=60))


def _tables(b: Builder) -> None:
    b.dense(48, b.output())
    b.table("tanh", TANH_TENSOR)
    b.dense(48, b.output())
    b.table("elu", b.output())
    b.dense(48, b.output(qmin=-90, qmax=110))
    b.table("relu", b.output())
    b.dense(8, b.output())
    b.table("sigmoid", SIGMOID_TENSOR)


def _wide_head(b: Builder) -> None:
    b.dense(64, b.output(zero_point=-128))
    b.dense(25, None)


def _wide_chain(b: Builder) -> None:
    b.dense(48, wide_tensor(12, 0.01, 3))
    b.table("tanh", wide_tensor(12, 2 / 4096))
    b.dense(48, wide_tensor(11, 0.1))
    b.dense(32, b.output())
    b.table("tanh", wide_tensor(10, 1 / 512))
    b.dense(8, b.output())


def _wide_relu(b: Builder) -> None:
    relu = QuantTensor(np.float32(0.02), 0, 0, 1023)
    b.dense(48, relu)
    b.dense(48, relu)
    b.table("relu", b.output())
    b.dense(8, None)


def _branches(b: Builder) -> None:
    tensor = b.output()
    first, second = b.dense(32, tensor), b.dense(32, tensor, source=INPUT)
    b.concat([b.add(first, second), first, second])
    b.dense(8, b.output())


def _wide_branches(b: Builder) -> None:
    tensor = wide_tensor(11, 0.1, 7)
    first, second = b.dense(32, tensor), b.dense(32, tensor, source=INPUT)
    b.concat([b.add(first, second), first, second])
    b.dense(8, b.output())


def _products(b: Builder) -> None:
    """Gates as a recurrent cell has them: narrow and wide factors, sums of wide products."""
    narrow, wide = b.output(0.03), wide_tensor(14, 0.001)
    first = b.dense(32, narrow)
    gate = b.table("sigmoid", QuantTensor(np.float32(2**-10), 0, 0, 1023), source=first)
    held = b.dense(32, wide, source=INPUT)
    kept = b.mul(gate, held, wide)
    total = b.add(b.mul(gate, first, wide), kept)
    product = b.mul(first, b.rescaled(total, narrow), b.output(0.01))
    b.concat([b.rescaled(product, narrow), first])
    b.dense(8, b.output())


def _image(b: Builder) -> None:
    paddings: list[Padding] = [NO_PADDING, ((1, 1), (1, 1)), ((0, 1), (0, 1)), ((2, 1), (0, 3))]
    strides = [(1, 1), (2, 2), (2, 1), (1, 3)]
    for turn in range(2):
        padding, stride = paddings[b.rng.integers(4)], strides[b.rng.integers(4)]
        b.window("conv", 8, (3, 3), stride, padding, b.output(zero_point=-128))
        b.window("depthwise", 0, (3, 2), (1, 1), paddings[1 + turn], b.output())
    b.flatten()


def _images(b: Builder) -> None:
    _image(b)
    b.dense(8, b.output())


def _picture_and_vectors(b: Builder) -> None:
    """A picture at a place where no word begins, between two vectors."""
    joined = b.output()
    b.columns(0, (5,))
    first = b.dense(6, joined)
    b.columns(5, (9, 8, 3))
    b.window("conv", 4, (3, 3), (2, 2), ((1, 1), (1, 1)), b.output())
    b.flatten()
    second = b.dense(12, joined)
    b.columns(5 + 9 * 8 * 3, (3,))
    third = b.dense(4, joined)
    b.columns(224, (8,))
    fourth = b.dense(7, joined)
    b.concat([first, second, third, fourth])
    b.dense(8, b.output())


def _pooled(b: Builder) -> None:
    paddings: list[Padding] = [NO_PADDING, ((0, 1), (0, 1)), ((1, 0), (1, 1))]
    b.window("conv", 8, (3, 3), (1, 1), NO_PADDING, b.output())
    b.pool("max", (3, 2), (2, 1), paddings[b.rng.integers(3)])
    b.window("conv", 6, (2, 2), (1, 1), NO_PADDING, b.output())
    b.pool("average", (2, 2), (1, 2), NO_PADDING)
    b.flatten()
    b.dense(8, b.output())


def _averaged(b: Builder) -> None:
    first = b.window("conv", 8, (3, 3), (2, 2), ((1, 1), (1, 1)), b.output(0.03))
    second = b.window("depthwise", 0, (3, 3), (1, 1), ((1, 1), (1, 1)), b.output(0.08))
    b.scaled_add(first, second, b.output(0.05))
    b.mean(b.output(0.002, 0), keeps_axes=True)  # so fine that means differ
    b.window("conv", 8, (1, 1), (1, 1), NO_PADDING, b.output(zero_point=-100))
    b.mean(b.output(0.04, -90))
    b.dense(8, b.output())


def _wide_images(b: Builder) -> None:
    b.window("conv", 8, (3, 3), (2, 2), ((1, 1), (1, 1)), wide_tensor(10, 0.05))
    b.window("depthwise", 0, (3, 2), (1, 1), ((1, 0), (1, 1)), wide_tensor(11, 0.1, 3))
    b.table("relu", wide_tensor(10, 0.1, -5))
    b.window("conv", 8, (3, 3), (1, 1), ((0, 1), (0, 1)), b.output())
    b.flatten()
    b.dense(8, None)


def _wide_flatten(b: Builder) -> None:
    b.window("depthwise", 0, (3, 3), (2, 2), NO_PADDING, wide_tensor(10, 0.05))
    b.flatten()
    b.dense(8, b.output())


def _read_twice(b: Builder) -> None:
    b.concat([b.newest] * 2)
    b.dense(12, wide_tensor(11, 0.05))
    b.concat([b.newest] * 3)
    b.dense(8, None)


NARROW = QuantTensor(np.float32(0.03), 3)
PIXELS = QuantTensor(np.float32(1 / 255), -128)
CASES: dict[str, tuple[tuple[int, ...], QuantTensor, Callable[[Builder], None]]] = {
    "dense chain": ((24,), NARROW, _dense_chain),
    "clamps": ((24,), NARROW, _clamps),
    "tables": ((24,), NARROW, _tables),
    "wide head": ((24,), NARROW, _wide_head),
    "wide observation": ((24,), wide_tensor(16, 0.001, -11), _wide_head),
    "wide chain": ((24,), wide_tensor(12, 0.01, 5), _wide_chain),
    "wide relu": ((24,), NARROW, _wide_relu),
    "read twice": ((24,), NARROW, _read_twice),
    "wide read twice": ((24,), wide_tensor(12, 0.01, 5), _read_twice),
    "branches": ((24,), NARROW, _branches),
    "wide branches": ((24,), NARROW, _wide_branches),
    "products": ((24,), NARROW, _products),
    "images": ((13, 12, 3), PIXELS, _images),
    "pooled": ((13, 12, 3), PIXELS, _pooled),
    "averaged": ((13, 12, 3), PIXELS, _averaged),
    "wide images": ((13, 12, 3), PIXELS, _wide_images),
    "picture and vectors": ((232,), NARROW, _picture_and_vectors),
    "wide flatten": ((13, 12, 3), PIXELS, _wide_flatten),
}


def random_policy(case: str, rng: np.random.Generator) -> QuantPolicy:
    """Return a random policy of one of CASES."""
    shape, tensor, add_layers = CASES[case]
    builder = Builder(rng, shape, tensor)
    add_layers(builder)
    return builder.build()
