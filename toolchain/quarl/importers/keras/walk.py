"""The walk over a Keras model: its layers in order, and what they append to a draft."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.graph.policy import Activation, Add, Concat, Function
from quarl.importers.draft import Affine, Clip, DraftBuilder, DraftOp, Head
from quarl.importers.keras.description import (
    MODELS,
    Config,
    LayerSpec,
    Slice,
    TensorRef,
    is_keras,
    layers_of,
    refs_of,
)
from quarl.importers.keras.weights import Weights

FUNCTIONS: dict[str, Function] = {  # of Keras 3, by what a layer's setting calls them
    **{name: name for name in ("relu", "relu6", "tanh", "sigmoid", "elu", "selu", "gelu", "mish")},
    **{name: name for name in ("softplus", "softsign", "silu")},
    "celu": "celu(1)",
    "exponential": "exp",
    "hard_silu": "hardswish",
    "hard_swish": "hardswish",
    "hard_tanh": "clip(-1,1)",
    "leaky_relu": "leaky_relu(0.2)",
    "swish": "silu",
}


Operand: TypeAlias = str | NDArray[np.float64] | Slice
Pairs: TypeAlias = "Mapping[str, Callable[[Walk, LayerSpec, Sequence[Operand]], str]]"
Meanings: TypeAlias = "Mapping[str, Callable[[Walk, LayerSpec, list[str], str], str]]"


class Walk:
    """Walks the layers of a model and appends what they do to a draft."""

    def __init__(
        self, path: Path, builder: DraftBuilder, weights: Weights, meanings: Meanings, pairs: Pairs
    ) -> None:
        self.path = path
        self.builder = builder
        self.weights = weights
        self.windows: dict[str, tuple[int, ...]] = {}  # [history, features] of vectors
        self.meanings, self.pairs = meanings, pairs
        self.is_open = False  # whether the model takes any number of steps
        self._cells = 0

    def next_cell(self) -> int:
        """Return the number of the next recurrent cell, from 1."""
        self._cells += 1
        return self._cells

    def sequential(self, layers: Sequence[LayerSpec], value: str, place: str) -> str:
        """Return the node that ends the chain."""
        places = self._places(layers, place)
        for layer in layers:
            if layer.kind != "InputLayer":
                value = self.layer(layer, [value], places[layer.name])[0]
        return value

    def functional(
        self,
        config: Config,
        layers: Sequence[LayerSpec],
        inputs: list[str],
        place: str,
        outputs: Sequence[TensorRef],
    ) -> list[str]:
        """Return the nodes of `outputs`, having walked only what leads to them."""
        by_name, places = {layer.name: layer for layer in layers}, self._places(layers, place)
        done: dict[tuple[str, int], list[str]] = {}
        for ref, value in zip(refs_of(config["input_layers"]), inputs, strict=True):
            done[ref.layer, ref.call] = [value]
        stack, entered = [(ref.layer, ref.call) for ref in outputs], set()
        while stack:
            key = stack[-1]
            if key in done:
                stack.pop()
                continue
            layer = by_name[key[0]]
            arguments = layer.calls[key[1]]
            open_refs = [
                (a.layer, a.call)
                for a in arguments
                if isinstance(a, TensorRef) and (a.layer, a.call) not in done
            ]
            if open_refs and key in entered:
                raise InputError(
                    f"{self.path.name}: layer {layer.name!r} waits for its own output: the "
                    "description is damaged"
                )
            entered.add(key)
            stack.extend(open_refs)
            if not open_refs:
                values = [
                    done[a.layer, a.call][a.index] if isinstance(a, TensorRef) else a
                    for a in arguments
                ]
                done[key] = self.layer(layer, values, places[layer.name])
        return [done[ref.layer, ref.call][ref.index] for ref in outputs]

    def layer(self, layer: LayerSpec, inputs: list[Operand], place: str) -> list[str]:
        """Return the nodes of the layer's outputs."""
        if layer.kind in MODELS and not layer.is_operation:
            tensors = [self._tensor(layer, value) for value in inputs]
            inner = layers_of(self.path, layer.config)
            if layer.kind == "Sequential":
                return [self.sequential(inner, tensors[0], place)]
            return self.functional(
                layer.config, inner, tensors, place, refs_of(layer.config["output_layers"])
            )
        if layer.kind == "Lambda":
            raise UntrustedFileError(
                f"{self.path.name}: layer {layer.name!r} (Lambda) is Python code inside the "
                "file, which is never run here: "
                "write what it does with Keras' own layers and save the model again"
            )
        self._check_dtype(layer)
        if layer.kind in self.pairs:
            return [self.pairs[layer.kind](self, layer, inputs)]
        reader = self.meanings.get(layer.kind)
        if reader is None:
            raise self.unsupported(
                layer,
                "is not among the layers that can be carried over",
            )
        return [reader(self, layer, [self._tensor(layer, value) for value in inputs], place)]

    def add(self, layer: LayerSpec, op: DraftOp, inputs: Sequence[str], suffix: str = "") -> str:
        """Append a node named after the layer; a `suffix` tells what the layer does besides its
        main operation.
        """
        window = self.windows.get(inputs[0])
        if window is not None and isinstance(op, Affine) and len(op.scale) == window[-1]:
            op = Affine(np.tile(op.scale, window[0]), np.tile(op.offset, window[0]))
        name = self.builder.add(layer.name + suffix, op, inputs, layer.name)
        if window is not None and isinstance(op, Activation | Affine | Add | Clip):
            self.windows[name] = window
        return name

    def shape(self, value: str) -> tuple[int, ...]:
        """Return a node's shape without the batch, as Keras sees it."""
        return self.windows.get(value, self.builder.shapes[value])

    def variable(
        self,
        layer: LayerSpec,
        place: str,
        index: int,
        names: tuple[str, ...],
        shape: tuple[int, ...],
    ) -> NDArray[np.float32]:
        """Return the layer's variable."""
        return self.weights.array(place, layer, index, names, shape)

    def unsupported(self, layer: LayerSpec, reason: str) -> UnsupportedError:
        """Return the error that names the layer, its kind and the reason."""
        return UnsupportedError(
            f"{self.path.name}: layer {layer.name!r} ({layer.kind}) {reason}: change the "
            "network and train it again"
        )

    def activation(self, layer: LayerSpec, setting: Any, value: str, suffix: bool = True) -> str:
        """Append the activation named by a layer's setting."""
        if isinstance(setting, dict):
            inner = setting.get("config")
            setting = (
                inner
                if setting.get("class_name") == "function" and is_keras(setting)
                else setting.get("class_name")
            )
        if setting in (None, "linear"):
            return value
        tail = f".{setting}" if suffix else ""
        if setting in ("softmax", "log_softmax"):
            return self.add(layer, Head(cast(Any, setting)), [value], tail)
        if setting == "__lambda__":
            raise UntrustedFileError(
                f"{self.path.name}: layer {layer.name!r} has Python code as its activation, "
                "which is never run here"
            )
        if not isinstance(setting, str) or setting not in FUNCTIONS:
            raise self.unsupported(
                layer,
                f"has the activation {setting!r}, carried over are linear, softmax, "
                f"{', '.join(FUNCTIONS)}",
            )
        return self.add(layer, Activation(FUNCTIONS[setting]), [value], tail)

    def _places(self, layers: Sequence[LayerSpec], place: str) -> dict[str, str]:
        counts: dict[str, int] = {}
        places = {}
        for layer in layers:
            if layer.is_operation:
                places[layer.name] = ""
                continue
            number = counts.get(layer.kind, 0)
            counts[layer.kind] = number + 1
            places[layer.name] = self.weights.child(place, layer, number)
        return places

    def _tensor(self, layer: LayerSpec, value: Operand) -> str:
        if not isinstance(value, str):
            raise self.unsupported(layer, "is given a constant where it takes a layer's output")
        return value

    def _check_dtype(self, layer: LayerSpec) -> None:
        dtype = layer.config.get("dtype")
        name = dtype.get("config", {}).get("name") if isinstance(dtype, dict) else dtype
        if name not in (None, "float32"):
            raise self.unsupported(layer, f"computes in {name}, only float32 is carried over")

    def joined(self, ends: Sequence[str]) -> str:
        """Return several outputs as one vector; a softmax at the end of one changes no choice."""
        nodes = {node.name: node for node in self.builder.nodes}
        parts = []
        for end in ends:
            while isinstance(nodes[end].op, Head):
                end = nodes[end].inputs[0]
            parts.append(end)
        return self.builder.add("outputs", Concat(), parts, "")
