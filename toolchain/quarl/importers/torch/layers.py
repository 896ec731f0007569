"""Layers from the tensors of torch modules, turned from channels-first to the graph's
channels-last.

In: a state dict, in which module paths are joined by dots. Out: named operations that
`linear_chain` puts in order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError
from quarl.graph.policy import Activation, Conv2D, Dense, Flatten, Function, Op

Layers: TypeAlias = list[tuple[str, Op]]
PLACE = "[0-9]{1,6}"
"""The place of a layer among its siblings, as a tensor's name holds it; a pattern."""

NATURE_KERNELS = (8, 4, 3)  # Mnih et al., Nature 518 (2015), Methods
NATURE_STRIDES = (4, 2, 1)
TORCH_ACTIVATIONS: dict[str, Function] = {
    "Tanh": "tanh",
    "ReLU": "relu",
    "ReLU6": "relu6",
    "ELU": "elu",
    "Sigmoid": "sigmoid",
    # with the numbers that their constructors have by default, as a class alone says no others
    "CELU": "celu(1)",
    "GELU": "gelu",
    "Hardsigmoid": "div(relu6(add(x,3)),6)",
    "Hardswish": "hardswish",
    "Hardtanh": "clip(-1,1)",
    "LeakyReLU": "leaky_relu(0.01)",
    "LogSigmoid": "neg(softplus(neg(x)))",
    "Mish": "mish",
    "SELU": "selu",
    "SiLU": "silu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Tanhshrink": "sub(x,tanh(x))",
}


@dataclass(frozen=True, slots=True)
class TorchState:
    """The tensors of one network by module path, and the file's name for messages."""

    file: str
    tensors: dict[str, NDArray[Any]]

    def has(self, module: str) -> bool:
        """Whether the module has tensors, its own or its children's."""
        return any(key.startswith(f"{module}.") for key in self.tensors)

    def dense(self, module: str) -> Dense:
        """Return the Linear module; without a bias in the file it is zero."""
        weights = self._weights(module, 2, "Linear")
        return Dense(weights, self._bias(module, len(weights)))

    def conv(self, module: str, stride: int) -> Conv2D:
        """Return the Conv2d module without padding; torch has [out, in, height, width], the graph
        [out, height, width, in].
        """
        weights = self._weights(module, 4, "Conv2d")
        return Conv2D(
            np.ascontiguousarray(weights.transpose(0, 2, 3, 1)),
            self._bias(module, len(weights)),
            (stride, stride),
        )

    def children(self, module: str) -> list[str]:
        """Return the names directly under a module that have tensors, numbers in numeric order."""
        names = {
            key[len(module) + 1 :].split(".")[0]
            for key in self.tensors
            if key.startswith(f"{module}.")
        }
        places = {name: int(name) for name in names if re.fullmatch(PLACE, name)}
        return sorted(names, key=lambda name: (name not in places, places.get(name, 0), name))

    def _weights(self, module: str, rank: int, kind: str) -> NDArray[Any]:
        weights = self.tensors.get(f"{module}.weight")
        if weights is None:
            raise InputError(
                f"{self.file}: has no tensor {module}.weight: it is incomplete, or of another "
                "kind of network: export it to ONNX"
            )
        others = [
            key
            for key in self.tensors
            if key.startswith(f"{module}.") and key not in (f"{module}.weight", f"{module}.bias")
        ]
        if weights.ndim != rank or others:
            raise UnsupportedError(
                f"{self.file}: {module} is not a {kind} layer (weight "
                f"{weights.shape}{', with ' + others[0] if others else ''}): only Linear, "
                "the Nature CNN and elementwise activations are carried over from weights alone: "
                "export it to ONNX"
            )
        return np.ascontiguousarray(weights, np.float32)

    def _bias(self, module: str, count: int) -> NDArray[Any]:
        bias = self.tensors.get(f"{module}.bias")
        if bias is None:
            return np.zeros(count, np.float32)
        return np.ascontiguousarray(bias, np.float32)


def sequential(state: TorchState, module: str, function: Function, activate_last: bool) -> Layers:
    """Return a torch Sequential of Linear layers with an activation between (and after the last,
    where `activate_last`).

    Raises:
        UnsupportedError: another module stands in between; names it.
    """
    layers: Layers = []
    children = state.children(module)
    for place, child in enumerate(children):
        layers.append((f"{module}.{child}", state.dense(f"{module}.{child}")))
        if child != str(2 * place):
            raise UnsupportedError(
                f"{state.file}: {module} is not a plain sequence of Linear and activation "
                f"(tensors at {', '.join(children)}, "
                "expected 0, 2, 4 ...): what stands between is not in the file: export it to ONNX"
            )
        if activate_last or place + 1 < len(children):
            layers.append((f"{module}.{2 * place + 1}", Activation(function)))
    return layers


def renormed_sequential(
    state: TorchState, module: str, function: Function, epsilon: float
) -> tuple[Layers, tuple[NDArray[np.float64], NDArray[np.float64]] | None]:
    """Return a torch Sequential of batch renormalisation, Linear and activation, repeated: the
    first folds into the Linear after it. And the scale and offset of a last one that has no Linear
    after it, None where there is none.

    Source: CrossQ's networks in sb3_contrib.crossq.policies.
    """
    layers: Layers = []
    pending: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    for child in state.children(module):
        name = f"{module}.{child}"
        if f"{name}.ra_mean" in state.tensors:
            mean, var, scale, bias = (
                state.tensors[f"{name}.{part}"].astype(np.float64)
                for part in ("ra_mean", "ra_var", "scale", "bias")
            )
            factor = scale / np.sqrt(var + epsilon)
            pending = factor, bias - mean * factor
            continue
        layers.append((name, scaled_columns(state.dense(name), pending)))
        layers.append((f"{name}.activation", Activation(function)))
        pending = None
    return layers, pending


def scaled_columns(
    dense: Dense, affine: tuple[NDArray[np.float64], NDArray[np.float64]] | None
) -> Dense:
    """Return the layer that gives dense(x * scale + offset) for x."""
    if affine is None:
        return dense
    scale, offset = affine
    weights = dense.weights.astype(np.float64)
    return Dense(
        (weights * scale).astype(np.float32), (dense.bias + weights @ offset).astype(np.float32)
    )


def yes_or_no(dense: Dense) -> Dense:
    """Return the layer with an output of 0 before each: a choice is yes where its own is larger."""
    weights = np.zeros((2 * len(dense.weights), dense.weights.shape[1]), np.float32)
    bias = np.zeros(2 * len(dense.bias), np.float32)
    weights[1::2], bias[1::2] = dense.weights, dense.bias
    return Dense(weights, bias)


def nature_cnn(state: TorchState, convolutions: str, linear: str, chw: tuple[int, ...]) -> Layers:
    """Return the Nature CNN: three convolutions at 0, 2, 4 of one Sequential, flatten, one Linear,
    ReLU after each.

    Args:
        chw: (channels, height, width) of the pixels the network sees.
    Raises:
        UnsupportedError: kernels other than 8, 4, 3: their strides are not in the file.
    """
    layers: Layers = []
    shape = chw
    for place, (kernel, stride) in enumerate(zip(NATURE_KERNELS, NATURE_STRIDES, strict=True)):
        module = f"{convolutions}.{2 * place}"
        conv = state.conv(module, stride)
        found = conv.weights.shape[1:3]
        if found != (kernel, kernel):
            raise UnsupportedError(
                f"{state.file}: {module} has a {found[0]}x{found[1]} kernel where the Nature "
                f"CNN has {kernel}x{kernel}; "
                "strides are not in the file, so another network is not known: export it to ONNX"
            )
        if min(shape[1:]) < kernel:
            raise InputError(
                f"{state.file}: {module}: a {kernel}x{kernel} window does not fit into "
                f"{shape[1]}x{shape[2]} pixels"
            )
        shape = (len(conv.weights), *((length - kernel) // stride + 1 for length in shape[1:]))
        layers += [(module, conv), (f"{convolutions}.{2 * place + 1}", Activation("relu"))]
    layers.append((f"{convolutions}.6", Flatten()))
    layers.append((linear, channels_last_columns(linear, state.dense(linear), shape)))
    layers.append((f"{linear}.relu", Activation("relu")))
    return layers


def channels_last_columns(name: str, dense: Dense, chw: tuple[int, ...]) -> Dense:
    """Return a Linear that follows a flatten, its columns moved from torch's [channels, height,
    width] to [height, width, channels].

    Raises:
        InputError: it takes another number of inputs than the pixels give; names both.
    """
    outputs, inputs = dense.weights.shape
    if inputs != int(np.prod(chw)):
        raise InputError(
            f"{name}: takes {inputs} inputs, [channels, height, width] {chw} come in: give "
            "the environment it was trained on"
        )
    moved = dense.weights.reshape(outputs, *chw).transpose(0, 2, 3, 1).reshape(outputs, inputs)
    return Dense(np.ascontiguousarray(moved), dense.bias)


def scaled_input(op: Op, gain: float) -> Op:
    """Return the operation that gives op(gain * x) for x, by its weights."""
    assert isinstance(op, Dense | Conv2D), "only layers with weights come first"
    return replace(op, weights=op.weights * op.weights.dtype.type(gain))


def clipped(name: str, dense: Dense, limit: float) -> Layers:
    """Return layers for clip(dense(x), -limit, limit).

    The graph has no two-sided clip, but relu6 is one: clip(x, -c, c) = relu6((x + c) * 3 / c) * c /
    3 - c.
    """
    gain = 3.0 / limit
    weights = (dense.weights.astype(np.float64) * gain).astype(np.float32)
    bias = (dense.bias.astype(np.float64) * gain + 3.0).astype(np.float32)
    count = len(bias)
    back = Dense(
        np.eye(count, dtype=np.float32) * np.float32(1 / gain), np.full(count, -limit, np.float32)
    )
    return [
        (name, Dense(weights, bias)),
        (f"{name}.clip", Activation("relu6")),
        (f"{name}.unclip", back),
    ]


def activation_named(class_name: str, file: str) -> Function:
    """Return the graph's function for a torch class name such as "Tanh", with the numbers that its
    constructor has by default.

    Raises:
        UnsupportedError: another activation; names it and the ones there are.
    """
    if class_name not in TORCH_ACTIVATIONS:
        allowed = ", ".join(TORCH_ACTIVATIONS)
        raise UnsupportedError(
            f"{file}: activation {class_name} is not carried over, only {allowed} are: train "
            "with one of them"
        )
    return TORCH_ACTIVATIONS[class_name]
