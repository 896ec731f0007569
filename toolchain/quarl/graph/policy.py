"""The policy: a small graph of layers with float32 parameters, free of any framework, and its
contract.

In: what an importer read. Out: a frozen value with a NumPy reference, on which everything after
stands.
The graph works on [n, features] or [n, height, width, channels]; convolution weights are [out,
height, width, in], dense weights [out, in]; `Flatten` is row-major over [height, width, channels].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError
from quarl.graph.contract import Contract

INPUT = "observation"
Padding = tuple[tuple[int, int], tuple[int, int]]
Function = Literal["relu", "relu6", "tanh", "sigmoid", "elu"]


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """y = x W^T + b. weights float32 [out, in], bias float32 [out]."""

    weights: NDArray[np.floating[Any]]
    bias: NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Conv2D:
    """Cross-correlation over [height, width]. weights float32 [out, height, width, in], bias
    float32 [out]; padding is explicit zeros.
    """

    weights: NDArray[np.floating[Any]]
    bias: NDArray[np.floating[Any]]
    stride: tuple[int, int] = (1, 1)
    padding: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True, eq=False)
class DepthwiseConv2D:
    """Each channel by its own filter. weights float32 [channels, height, width], bias float32
    [channels].
    """

    weights: NDArray[np.floating[Any]]
    bias: NDArray[np.floating[Any]]
    stride: tuple[int, int] = (1, 1)
    padding: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True)
class MaxPool2D:
    """The largest value under each window [height, width]; padding never is."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True)
class Activation:
    """An elementwise function; elu has alpha 1."""

    function: Function


@dataclass(frozen=True, slots=True)
class Flatten:
    """[n, height, width, channels] -> [n, height * width * channels]."""


@dataclass(frozen=True, slots=True)
class Concat:
    """Joins its inputs along the last axis."""


@dataclass(frozen=True, slots=True)
class Add:
    """Adds two inputs of one shape."""


Op: TypeAlias = Dense | Conv2D | DepthwiseConv2D | MaxPool2D | Activation | Flatten | Concat | Add
Weighted: TypeAlias = Dense | Conv2D | DepthwiseConv2D
Copying: TypeAlias = Flatten | MaxPool2D  # what comes out went in


@dataclass(frozen=True, slots=True)
class Node:
    """One operation; `inputs` are names of earlier nodes or `INPUT`."""

    name: str
    op: Op
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A trained policy: nodes in topological order (the last one is the output), contract and
    origin.

    The graph's input is the observation after the normaliser, or pixels divided by 255.
    """

    nodes: tuple[Node, ...]
    contract: Contract
    algorithm: str
    framework: str
    source_sha256: str

    def __post_init__(self) -> None:
        check_graph(self)

    @property
    def parameter_count(self) -> int:
        """Number of trained numbers."""
        return sum(
            node.op.weights.size + node.op.bias.size
            for node in self.nodes
            if isinstance(node.op, Weighted)
        )

    def graph_input(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        """Return float32 [n, *graph_shape]: what the first layer sees, from observations [n,
        *shape] in environment units.
        """
        observation = self.contract.observation
        values = observation.to_graph(obs)
        if observation.is_image:
            return values.astype(np.float32) / np.float32(255)
        if observation.normalizer is not None:
            return observation.normalizer.apply(values).astype(np.float32)
        return values.astype(np.float32)

    def outputs(self, obs: NDArray[Any]) -> NDArray[np.float32]:
        """Return the network's outputs float32 [n, count] for observations [n, *shape] in
        environment units.
        """
        last: NDArray[np.float32] = run_graph(self.nodes, self.graph_input(obs))[
            self.nodes[-1].name
        ]
        return last

    def act(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return the deterministic actions for observations [n, *shape] in environment units."""
        return self.contract.action.decode(self.outputs(obs))


def linear_chain(layers: list[tuple[str, Op]]) -> tuple[Node, ...]:
    """Return nodes for layers that follow one another, from `INPUT`."""
    names = [INPUT, *(name for name, _ in layers)]
    return tuple(
        Node(name, op, (before,)) for (name, op), before in zip(layers, names, strict=False)
    )


def run_graph(
    nodes: tuple[Node, ...], graph_input: NDArray[np.floating[Any]]
) -> Mapping[str, NDArray[Any]]:
    """Return every node's value by name, `INPUT` included, in the float type of `graph_input` [n,
    ...].
    """
    values: dict[str, NDArray[Any]] = {INPUT: graph_input}
    for node in nodes:
        values[node.name] = apply_op(node.op, [values[name] for name in node.inputs])
    return values


def apply_op(op: Op, inputs: list[NDArray[Any]]) -> NDArray[Any]:
    """Return the operation's float result; the float type is that of the first input."""
    x = inputs[0]
    result: NDArray[Any]
    match op:
        case Dense():
            result = x @ op.weights.T.astype(x.dtype, copy=False) + op.bias.astype(
                x.dtype, copy=False
            )
        case Conv2D():
            columns, (rows, cols) = im2col(x, op.weights.shape[1:3], op.stride, op.padding)
            flat = columns @ op.weights.reshape(len(op.weights), -1).T.astype(
                x.dtype, copy=False
            ) + op.bias.astype(x.dtype, copy=False)
            result = flat.reshape(len(x), rows, cols, len(op.weights))
        case DepthwiseConv2D():
            windows = windows_of(x, op.weights.shape[1:3], op.stride, op.padding)
            result = np.einsum(
                "nrcdhw,dhw->nrcd", windows, op.weights.astype(x.dtype, copy=False), optimize=True
            ) + op.bias.astype(x.dtype, copy=False)
        case MaxPool2D():
            result = max_pool(op, x)
        case Activation():
            result = activate(op.function, x)
        case Flatten():
            result = x.reshape(len(x), math.prod(x.shape[1:]))
        case Concat():
            result = np.concatenate(inputs, axis=-1)
        case Add():
            result = inputs[0] + inputs[1]
    return result


def max_pool(op: MaxPool2D, x: NDArray[Any]) -> NDArray[Any]:
    """Return [n, rows, cols, channels]: the largest number of x [n, height, width, channels], of
    any type, under each window.
    """
    lowest = -np.inf if np.issubdtype(x.dtype, np.floating) else np.iinfo(x.dtype).min
    result: NDArray[Any] = windows_of(x, op.kernel, op.stride, op.padding, fill=lowest).max(
        axis=(-1, -2)
    )
    return result


def activate(function: Function, x: NDArray[Any]) -> NDArray[Any]:
    """Return the elementwise function of x, in x's float type."""
    result: NDArray[Any]
    match function:
        case "relu":
            result = np.maximum(x, x.dtype.type(0))
        case "relu6":
            result = np.clip(x, x.dtype.type(0), x.dtype.type(6))
        case "tanh":
            result = np.tanh(x)
        case "sigmoid":
            result = x.dtype.type(0.5) * np.tanh(x * x.dtype.type(0.5)) + x.dtype.type(0.5)
        case "elu":
            result = np.where(x > 0, x, np.expm1(np.minimum(x, x.dtype.type(0))))
    return result


def windows_of(
    x: NDArray[Any],
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: Padding,
    fill: float = 0,
) -> NDArray[Any]:
    """Return a view [n, rows, cols, channels, kernel_height, kernel_width] of x [n, height, width,
    channels], padded with `fill`.
    """
    if padding != ((0, 0), (0, 0)):
        x = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=fill)
    return sliding_window_view(x, kernel, axis=(1, 2))[:, :: stride[0], :: stride[1]]


def im2col(
    x: NDArray[Any],
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: Padding,
    fill: float = 0,
) -> tuple[NDArray[Any], tuple[int, int]]:
    """Return the patches [n * rows * cols, kernel_height * kernel_width * channels] in weight
    order, and (rows, cols).
    """
    windows = windows_of(x, kernel, stride, padding, fill)
    patches = windows.transpose(0, 1, 2, 4, 5, 3)
    return patches.reshape(math.prod(patches.shape[:3]), math.prod(patches.shape[3:])), (
        patches.shape[1],
        patches.shape[2],
    )


def check_graph(policy: Policy) -> None:
    """Check names, shapes and numbers of the whole graph.

    Raises:
        InputError: a shape that does not fit, an unknown input, NaN or inf among the weights; names
            the node.
    """
    if not policy.nodes:
        raise InputError("the policy has no layers")
    shapes = node_shapes(policy)
    outputs = shapes[policy.nodes[-1].name]
    if outputs != (policy.contract.action.count,):
        raise InputError(
            f"the network ends with shape {outputs}, the action needs "
            f"({policy.contract.action.count},)"
        )


def node_shapes(policy: Policy) -> dict[str, tuple[int, ...]]:
    """Return each node's output shape without the batch, `INPUT` included."""
    shapes: dict[str, tuple[int, ...]] = {INPUT: policy.contract.observation.graph_shape}
    for node in policy.nodes:
        if not isinstance(node.name, str):
            raise InputError(f"a layer's name is {node.name!r}, it must be text")
        if node.name in shapes:
            raise InputError(f"two layers are called {node.name!r}")
        unknown = [name for name in node.inputs if name not in shapes]
        if unknown:
            raise InputError(f"{node.name}: input {unknown} is missing or comes later in the graph")
        if isinstance(node.op, Weighted):
            _check_parameters(node.name, node.op)
        shapes[node.name] = output_shape(node, [shapes[name] for name in node.inputs])
    return shapes


def output_shape(node: Node, inputs: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the node's output shape without the batch.

    Raises:
        InputError: the inputs do not fit the operation.
    """
    wanted = 2 if isinstance(node.op, Add) else 1
    if len(inputs) < wanted or (len(inputs) > wanted and not isinstance(node.op, Concat)):
        raise InputError(
            f"{node.name}: takes {wanted} input{'s' if wanted > 1 else ''}, is given {len(inputs)}"
        )
    first = inputs[0]
    match node.op:
        case Dense(weights=weights):
            if first != (weights.shape[1],):
                raise InputError(
                    f"{node.name}: takes {weights.shape[1]} inputs, is given shape {first}"
                )
            return (weights.shape[0],)
        case Conv2D(weights=weights, stride=stride, padding=padding):
            if len(first) != 3 or first[2] != weights.shape[3]:
                raise InputError(
                    f"{node.name}: takes [height, width, {weights.shape[3]}], is given shape "
                    f"{first}"
                )
            return (
                *_window_counts(node.name, first, weights.shape[1:3], stride, padding),
                weights.shape[0],
            )
        case DepthwiseConv2D(weights=weights, stride=stride, padding=padding):
            if len(first) != 3 or first[2] != weights.shape[0]:
                raise InputError(
                    f"{node.name}: takes [height, width, {weights.shape[0]}], is given shape "
                    f"{first}"
                )
            return (
                *_window_counts(node.name, first, weights.shape[1:3], stride, padding),
                weights.shape[0],
            )
        case MaxPool2D(kernel=kernel, stride=stride, padding=padding):
            return pool_shape(node.name, first, kernel, stride, padding)
        case Flatten():
            return (int(np.prod(first)),)
        case Concat():
            if any(shape[:-1] != first[:-1] for shape in inputs):
                raise InputError(
                    f"{node.name}: joins shapes {inputs}, which differ before the last axis"
                )
            return (*first[:-1], sum(shape[-1] for shape in inputs))
        case Add():
            if inputs[0] != inputs[1]:
                raise InputError(f"{node.name}: adds shapes {inputs}, which must be two equal ones")
            return first
        case Activation(function=function):
            if function not in get_args(Function):
                raise UnsupportedError(
                    f"{node.name}: the function {function} is unknown; known: "
                    f"{', '.join(get_args(Function))}"
                )
            return first
    raise UnsupportedError(f"{node.name}: {type(node.op).__name__} is no operation of this graph")


def pool_shape(
    name: str,
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding,
) -> tuple[int, int, int]:
    """Return the shape a pooling makes.

    Raises:
        InputError: the window does not fit the image, or could lie in the padding alone.
    """
    if len(shape) != 3 or len(kernel) != 2 or not _are_whole(kernel, 1):
        raise InputError(
            f"{name}: pools windows {kernel} of [height, width, channels], is given shape {shape}"
        )
    counts = _window_counts(name, shape, kernel, stride, padding)
    if any(side >= kernel[axis] for axis in (0, 1) for side in padding[axis]):
        raise InputError(
            f"{name}: a {kernel[0]}x{kernel[1]} window fits into the padding {padding}, where "
            "there is nothing to pool"
        )
    return (*counts, shape[2])


def _window_counts(
    name: str,
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: Padding,
) -> tuple[int, int]:
    if not _are_whole(stride, 1) or len(stride) != 2:
        raise InputError(f"{name}: stride {stride} must be two whole numbers from 1")
    if len(padding) != 2 or any(len(axis) != 2 or not _are_whole(axis, 0) for axis in padding):
        raise InputError(
            f"{name}: padding {padding} must be ((top, bottom), (left, right)), whole numbers "
            "from 0"
        )
    rows, cols = ((shape[a] + sum(padding[a]) - kernel[a]) // stride[a] + 1 for a in (0, 1))
    if rows < 1 or cols < 1:
        raise InputError(
            f"{name}: a {kernel[0]}x{kernel[1]} window does not fit into {shape[0]}x{shape[1]}"
        )
    return rows, cols


def _are_whole(values: tuple[int, ...], low: int) -> bool:
    return all(type(value) is int and value >= low for value in values)


def _check_parameters(name: str, op: Weighted) -> None:
    rank = {Dense: 2, Conv2D: 4, DepthwiseConv2D: 3}[type(op)]
    if op.weights.ndim != rank or op.weights.size == 0 or op.bias.shape != (op.weights.shape[0],):
        raise InputError(
            f"{name}: weights {op.weights.shape} and bias {op.bias.shape} do not fit a "
            f"{type(op).__name__} layer"
        )
    if op.weights.dtype != np.float32 or op.bias.dtype != np.float32:
        raise UnsupportedError(
            f"{name}: parameters are {op.weights.dtype}, only float32 is carried over"
        )
    for what, values in (("weights", op.weights), ("bias", op.bias)):
        bad = values.size - int(np.isfinite(values).sum())
        if bad:
            raise InputError(
                f"{name}: {bad} of {values.size} {what} are NaN or infinite: the training "
                "diverged, use an earlier checkpoint"
            )
