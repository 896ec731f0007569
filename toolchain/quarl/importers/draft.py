"""The draft: a network as a file tells it, before it is tidied into the few operations of a
`Policy`.

In: layers in NHWC, in topological order, as the importers read them. Out: a `Draft`.
The rest of the way: `action` (its end), `observation` (its beginning), `fold` (what lies between).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, assert_never

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError
from quarl.graph.contract import Layout
from quarl.graph.op_shapes import MOST_ELEMENTS
from quarl.graph.picture import NamedPart, Picture
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
    Function,
    MaxPool2D,
    Mul,
    Node,
    Op,
    output_shape,
)
from quarl.graph.state import StateVector

MAX_LAYERS = 500
SAME = 1e-6  # two float32 constants that mean the same number, relative
RELU: dict[tuple[float, float], Function] = {(0, math.inf): "relu", (0, 6): "relu6"}
FloatArray: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """y = x * scale + offset along the last axis. scale, offset float64 [channels]."""

    scale: FloatArray
    offset: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """y = x W^T + b of a vector, which is no layer of the file: a slice, a mean, a broadcast, an
    order of columns. It folds into the layers beside it. weights float64 [out, in], bias [out].
    """

    weights: FloatArray
    bias: FloatArray


@dataclass(frozen=True, slots=True)
class Clip:
    """y = min(max(x, low), high), where it is not a ReLU; a bound may be infinite."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Head:
    """A last step that keeps the order of the outputs: softmax, its logarithm, or the index of the
    largest; of several choices `counts` says how many outputs each has.
    """

    function: Literal["softmax", "log_softmax", "argmax"]
    counts: tuple[int, ...] = ()


DraftOp: TypeAlias = Op | Affine | Linear | Clip | Head


@dataclass(frozen=True, slots=True)
class DraftNode:
    """One step; `inputs` are names of earlier steps, of states or `INPUT`; `source` is what the
    file calls its result; `state` is the state whose next value it makes.
    """

    name: str
    op: DraftOp
    inputs: tuple[str, ...]
    source: str
    state: StateVector | None = None


Nodes: TypeAlias = tuple[DraftNode, ...]


@dataclass(frozen=True, slots=True)
class SourcePicture:
    """A picture among the values of a vector: where it lies, in which order of axes the source
    takes it, and whether as bytes.
    """

    picture: Picture
    layout: Layout
    is_bytes: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """A network with one input and one output (the last node).

    `input_shape` is in graph order ([features] or [height, width, channels]); `layout` and
    `input_dtype` are those of the source. `notes` are lines for the user: what the importer chose,
    dropped or fixed.
    """

    nodes: Nodes
    input_shape: tuple[int, ...]
    layout: Layout
    input_dtype: str
    framework: str
    source_sha256: str
    notes: tuple[str, ...] = ()
    pictures: tuple[SourcePicture, ...] = ()  # among a vector's values
    parts: tuple[NamedPart, ...] = ()  # the inputs that it is made of, where they are several


class DraftBuilder:
    """Collects the nodes of one draft, with their shapes, while an importer walks its file."""

    def __init__(self, path: Path, input_shape: tuple[int, ...]) -> None:
        self.path = path
        self.nodes: list[DraftNode] = []
        self.shapes: dict[str, tuple[int, ...]] = {INPUT: input_shape}
        self._elements = math.prod(input_shape)
        if self._elements > MOST_ELEMENTS:
            raise UnsupportedError(
                f"{path.name}: takes {self._elements:,} values at once, at most "
                f"{MOST_ELEMENTS:,} are carried over: this is not a policy for a small board"
            )

    def add(self, name: str, op: DraftOp, inputs: Sequence[str], source: str) -> str:
        """Append one node and return the name it got: `name` made printable and unique.

        Raises:
            InputError: the inputs do not fit the operation.
            UnsupportedError: more than `MAX_LAYERS` nodes.
        """
        if len(self.nodes) >= MAX_LAYERS:
            raise UnsupportedError(
                f"{self.path.name}: more than {MAX_LAYERS} layers: this is not a policy for a "
                "small board"
            )
        printable = re.sub(r"[^A-Za-z0-9_.:/-]", "_", name)[:80] or "layer"
        unique, number = printable, 1
        while unique in self.shapes:
            unique, number = f"{printable}_{number}", number + 1
        self.shapes[unique] = self._shape(unique, op, tuple(inputs))
        self._count(unique)
        self.nodes.append(DraftNode(unique, op, tuple(inputs), source))
        return unique

    def add_state(self, state: StateVector) -> None:
        """Make a state known, which steps read by its `tensor_name`."""
        self.shapes[state.tensor_name] = (state.length,)
        self._count(state.tensor_name)

    def close_state(self, node: str, state: StateVector) -> None:
        """Say that a step makes the next value of a state."""
        place = next(i for i, other in enumerate(self.nodes) if other.name == node)
        self.nodes[place] = replace(self.nodes[place], state=state)

    def _count(self, name: str) -> None:
        self._elements += math.prod(self.shapes[name])
        if self._elements > MOST_ELEMENTS:
            raise UnsupportedError(
                f"{self.path.name}: {name}: the layers up to here give {self._elements:,} values "
                f"together, at most {MOST_ELEMENTS:,} are carried over"
            )

    def draft(
        self,
        output: str,
        layout: Layout,
        input_dtype: str,
        framework: str,
        source_sha256: str,
        notes: tuple[str, ...] = (),
    ) -> Draft:
        """Return the draft that ends in `output`, without what does not lead there."""
        if output == INPUT:
            raise InputError(
                f"{self.path.name}: the output is the input itself: there is no policy in it"
            )
        return Draft(
            ancestors(tuple(self.nodes), output),
            self.shapes[INPUT],
            layout,
            input_dtype,
            framework,
            source_sha256,
            notes,
        )

    def _shape(self, name: str, op: DraftOp, inputs: tuple[str, ...]) -> tuple[int, ...]:
        shapes = [self.shapes[i] for i in inputs]
        match op:
            case Head() | Clip():
                return shapes[0]
            case Affine() if op.scale.shape == op.offset.shape == shapes[0][-1:]:
                return shapes[0]
            case Linear(weights=weights) if shapes[0] == weights.shape[1:]:
                return (len(weights),)
            case Affine() | Linear():
                raise InputError(
                    f"{self.path.name}: {name}: its factors do not fit the shape {shapes[0]} they "
                    "are applied to: inconsistent file"
                )
        try:
            return output_shape(Node(name, op, inputs), shapes)
        except InputError as error:
            raise type(error)(f"{self.path.name}: {error}") from error


def affine(scale: Any, offset: Any, channels: int) -> Affine:
    """Return the affine step with `scale` and `offset` spread to float64 [channels]."""
    return Affine(
        np.zeros(channels) + np.asarray(scale, np.float64),
        np.zeros(channels) + np.asarray(offset, np.float64),
    )


def selection(places: NDArray[np.int64], count: int) -> Linear:
    """Return the step that gives the values at `places` of a vector of `count`."""
    weights = np.zeros((len(places), count))
    weights[np.arange(len(places)), places] = 1
    return Linear(weights, np.zeros(len(places)))


def average(
    height: int, width: int, channels: int, stride: tuple[int, int], padding: Any = ((0, 0), (0, 0))
) -> DepthwiseConv2D:
    """Return average pooling over height x width as the depthwise convolution that computes it."""
    weights = np.full((channels, height, width), 1 / (height * width), np.float32)
    return DepthwiseConv2D(weights, np.zeros(channels, np.float32), stride, padding)


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after one axis for SAME padding: ceil(length / stride) outputs,
    the odd zero at the end.
    """
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def ancestors(nodes: Nodes, output: str) -> Nodes:
    """Return the nodes that lead to `output`, and to the next value of each state on the way."""
    needed, before = {output}, 0
    while len(needed) > before:
        before = len(needed)
        for node in reversed(nodes):
            if node.name in needed or (node.state and node.state.tensor_name in needed):
                needed |= {node.name, *node.inputs}
    return tuple(node for node in nodes if node.name in needed)


def compose(nodes: Nodes) -> Nodes:
    """Join affine steps that follow one another, and clips that do."""
    for node in nodes:
        before = node_named(nodes, node.inputs[0])
        if before is None or consumers(nodes, before.name) != [node]:
            continue
        if isinstance(node.op, Affine) and isinstance(before.op, Affine):
            joined: DraftOp = Affine(
                before.op.scale * node.op.scale, before.op.offset * node.op.scale + node.op.offset
            )
        elif (first := bounds_of(before.op)) is not None and (
            second := bounds_of(node.op)
        ) is not None:
            low, high = (min(max(bound, second[0]), second[1]) for bound in first)
            joined = Activation(RELU[low, high]) if (low, high) in RELU else Clip(low, high)
        else:
            continue
        # the earlier node goes, so the rest of this pass sees the joined one
        nodes = swap(bypass(nodes, before.name), replace(node, op=joined, inputs=before.inputs))
    return nodes


def bounds_of(op: DraftOp) -> tuple[float, float] | None:
    """Return the bounds of a step that clips."""
    if isinstance(op, Clip):
        return op.low, op.high
    found = [bounds for bounds, function in RELU.items() if op == Activation(function)]
    return found[0] if found else None


def describe(node: DraftNode) -> str:
    """Return a step in words, for messages."""
    op = node.op
    match op:
        case Activation(function=function) | Head(function=function):
            kind = str(function)
        case Clip(low=low, high=high):
            kind = f"a clip to [{low}, {high}]"
        case Affine():
            kind = "a scaling"
        case Linear() | Dense() | Conv2D() | DepthwiseConv2D():
            kind = "a linear layer"
        case MaxPool2D() | Flatten() | Columns() | Concat() | Add() | Mul():
            kind = type(op).__name__.lower()
        case other:
            assert_never(other)
    return f"{kind} ({node.name})"


def output_count(draft: Draft) -> int:
    """Return how many values the draft's vector has, 0 where it ends in an image."""
    shape = shapes_of(draft.nodes, draft.input_shape)[draft.nodes[-1].name]
    return shape[0] if len(shape) == 1 else 0


def shapes_of(nodes: Nodes, input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return each step's shape without the batch, `INPUT` included."""
    builder = DraftBuilder(Path("network"), input_shape)
    for node in nodes:
        if node.state is not None:
            builder.add_state(node.state)
    for node in nodes:
        builder.add(node.name, node.op, node.inputs, node.source)
    return builder.shapes


def node_named(nodes: Nodes, name: str) -> DraftNode | None:
    """Return the step of that name, None for `INPUT`."""
    return next((node for node in nodes if node.name == name), None)


def consumers(nodes: Nodes, name: str) -> list[DraftNode]:
    """Return the steps that read a step's result."""
    return [node for node in nodes if name in node.inputs]


def swap(nodes: Nodes, new: DraftNode) -> Nodes:
    """Return the nodes with `new` in place of the one of its name."""
    return tuple(new if node.name == new.name else node for node in nodes)


def bypass(nodes: Nodes, name: str) -> Nodes:
    """Remove a one-input node; its consumers take its input."""
    before = next(node.inputs[0] for node in nodes if node.name == name)
    rest = (node for node in nodes if node.name != name)
    return tuple(
        replace(node, inputs=tuple(before if i == name else i for i in node.inputs))
        for node in rest
    )
