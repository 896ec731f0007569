"""Keras models (`.keras`, and `.h5` of Keras 2 and 3) read as data: JSON and HDF5, without Keras
and without running anything.

In: a Sequential or Functional model saved whole. Out: a `Policy`. Layers whose meaning lies in
Python code (Lambda, own classes) are refused, and so is everything that has no exact counterpart;
both by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.files.archives import Archive, open_file, source_digest
from quarl.graph.policy import (
    INPUT,
    Activation,
    Add,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Function,
    MaxPool2D,
    Padding,
    Policy,
)
from quarl.importers.detect import ZIP_MAGIC
from quarl.importers.draft import (
    Draft,
    DraftBuilder,
    DraftOp,
    Head,
    affine,
    average,
    choose_output,
    finish,
    same_padding,
)
from quarl.importers.hdf5 import Hdf5File, open_hdf5
from quarl.importers.options import ImportOptions

MAX_CONFIG_BYTES = 1 << 24
UNKNOWN = "of unknown version"
FUNCTIONS: dict[str, Function] = {
    "relu": "relu",
    "relu6": "relu6",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "elu": "elu",
}
MODELS = ("Sequential", "Functional", "Model")
# keras.config.epsilon(), the floor of the standard deviation in Normalization
NORMALIZATION_EPSILON = 1e-7
Config: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TensorRef:
    """The output `index` of a layer's call number `call`."""

    layer: str
    call: int
    index: int


Argument: TypeAlias = TensorRef | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One layer as the description tells it; `is_operation` for `keras.ops` in a functional model,
    which own no weights.
    """

    name: str
    kind: str
    config: Config
    calls: tuple[tuple[Argument, ...], ...]
    is_operation: bool


class Weights(Protocol):
    """Where the numbers of a layer are found; `place` is what `child` gave for it."""

    def child(self, place: str, layer: LayerSpec, number: int) -> str:
        """Return the place of a layer inside a model: the `number`-th of its kind."""

    def array(
        self,
        place: str,
        layer: LayerSpec,
        index: int,
        names: tuple[str, ...],
        shape: tuple[int, ...],
    ) -> NDArray[np.float32]:
        """Return the layer's variable number `index`, called one of `names`, float32 of `shape`."""


@dataclass(frozen=True, slots=True)
class KerasFile:
    """A saved model: its description, its numbers, the Keras that wrote it."""

    path: Path
    model: Config
    weights: Weights
    framework: str


def read_keras(path: Path, options: ImportOptions) -> Policy:
    """Return the policy in a `.keras` or `.h5` file.

    Raises:
        InputError: damaged or inconsistent, or the action or observation is unknown.
        UnsupportedError: a layer or setting without exact counterpart; names it.
        UntrustedFileError: a Lambda layer, links, or sizes beyond the limits.
    """
    return finish(path, read_draft(path, options), options)


def read_draft(path: Path, options: ImportOptions) -> Draft:
    """Return the network as the file tells it, before it is folded into a policy."""
    file = open_keras(path)
    try:
        return choose_output(path, _outputs(file, source_digest(path)), options)
    except RecursionError as error:
        raise UntrustedFileError(
            f"{path.name}: the model's description is nested too deeply: this is no policy"
        ) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path.name}: the model's description is damaged ({error!r}): save the model again"
        ) from error


def open_keras(path: Path) -> KerasFile:
    """Return the saved model in a `.keras` zip or a whole-model `.h5`, told apart by content."""
    with open_file(path) as file:
        is_zip = file.read(4) == ZIP_MAGIC
    if is_zip:
        with Archive(path) as archive:
            model = _json(path, archive.read("config.json", MAX_CONFIG_BYTES))
            metadata = (
                _json(path, archive.read("metadata.json", MAX_CONFIG_BYTES))
                if "metadata.json" in archive.names
                else {}
            )
            content = archive.read("model.weights.h5")
        version = str(metadata.get("keras_version", UNKNOWN))
        return KerasFile(path, model, ZipWeights(open_hdf5(content, path.name)), f"keras {version}")
    hdf5 = open_hdf5(path, path.name)
    description = hdf5.text("", "model_config")
    if description is None:
        raise InputError(
            f"{path.name}: holds weights without the model's description: save the whole "
            "model, model.save('policy.keras')"
        )
    return KerasFile(
        path,
        _json(path, description),
        LegacyWeights(hdf5),
        f"keras {hdf5.text('', 'keras_version') or UNKNOWN}",
    )


def _json(path: Path, content: bytes | str) -> Config:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path.name}: the model's description is not JSON ({error}): the file is "
            "damaged, save the model again"
        ) from error
    if not isinstance(found, dict):
        raise InputError(
            f"{path.name}: the model's description is no model: save the whole model, "
            "model.save('policy.keras')"
        )
    return found


class ZipWeights:
    """The numbers of a `.keras` file: one group per layer, named after its class, variables
    numbered.
    """

    def __init__(self, hdf5: Hdf5File) -> None:
        self._hdf5 = hdf5

    def child(self, place: str, layer: LayerSpec, number: int) -> str:
        """Return e.g. "layers/dense_1" for the second Dense, which must bear the layer's name where
        names were stored.
        """
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", layer.kind).lower()
        found = f"{place}/layers/{kind}".lstrip("/") + (f"_{number}" if number else "")
        stored = self._hdf5.text(f"{found}/vars", "name")
        if stored not in (None, layer.name):
            raise InputError(
                f"{self._hdf5.name}: the weights of layer {layer.name!r} belong to "
                f"{stored!r}: the file is inconsistent, save it again"
            )
        return found

    def array(
        self,
        place: str,
        layer: LayerSpec,
        index: int,
        names: tuple[str, ...],
        shape: tuple[int, ...],
    ) -> NDArray[np.float32]:
        """Return variable number `index`."""
        return self._hdf5.array(f"{place}/vars/{index}", shape)


class LegacyWeights:
    """The numbers of an `.h5` file: one group per layer of the outermost model, its variables
    listed by name.
    """

    def __init__(self, hdf5: Hdf5File) -> None:
        self._hdf5 = hdf5

    def child(self, place: str, layer: LayerSpec, number: int) -> str:
        """Return the outermost layer's group, for the layers inside it too."""
        return place or f"model_weights/{layer.name}"

    def array(
        self,
        place: str,
        layer: LayerSpec,
        index: int,
        names: tuple[str, ...],
        shape: tuple[int, ...],
    ) -> NDArray[np.float32]:
        """Return the variable whose listed name ends in the layer's name and one of `names`."""
        listed = self._hdf5.list_of_texts(place, "weight_names")
        wanted = [
            *((layer.name, name) for name in names),
            *((name,) for name in names),
        ]  # some layers leave their own name out
        found = [
            name for name in listed if tuple(name.removesuffix(":0").split("/")[-2:]) in wanted
        ]
        if len(found) != 1:
            raise InputError(
                f"{self._hdf5.name}: layer {layer.name!r} has {len(found)} variables called "
                f"{' or '.join(names)}, one is needed: "
                "save the model again as .keras"
            )
        return self._hdf5.array(f"{place}/{found[0]}", shape)


def _outputs(file: KerasFile, digest: str) -> dict[str, Callable[[], Draft]]:
    kind, config = str(file.model["class_name"]), file.model["config"]
    if kind not in MODELS or not _is_keras(file.model):
        raise UnsupportedError(
            f"{file.path.name}: the model is of the class {kind!r}, whose Python code the "
            "file does not hold: "
            "build it as keras.Sequential or with the functional API, load the weights into "
            "it and save it"
        )
    layers = _layers(file.path, config)
    if kind == "Sequential":
        return {
            layers[-1].name if layers else "output": partial(_draft, file, config, None, digest)
        }
    refs = _refs(config["output_layers"])
    unique = len({ref.layer for ref in refs}) == len(refs)
    names = [ref.layer if unique else f"{ref.layer}:{ref.call}:{ref.index}" for ref in refs]
    return {
        name: partial(_draft, file, config, ref, digest)
        for name, ref in zip(names, refs, strict=True)
    }


def _draft(file: KerasFile, config: Config, output: TensorRef | None, digest: str) -> Draft:
    path, layers = file.path, _layers(file.path, config)
    shape, dtype = _input(path, config, layers)
    builder = DraftBuilder(path, shape)
    walk = _Walk(path, builder, file.weights)
    name = (
        walk.sequential(layers, INPUT, "")
        if output is None
        else walk.functional(config, layers, [INPUT], "", [output])[0]
    )
    return builder.draft(
        name, "vector" if len(shape) == 1 else "hwc", dtype, file.framework, digest
    )


def _input(path: Path, config: Config, layers: Sequence[LayerSpec]) -> tuple[tuple[int, ...], str]:
    """Return the shape without the batch and the dtype of the one input."""
    inputs = [layer for layer in layers if layer.kind == "InputLayer"]
    if len(inputs) > 1:
        names = ", ".join(layer.name for layer in inputs)
        raise UnsupportedError(
            f"{path.name}: the model has {len(inputs)} inputs ({names}), quarl carries one "
            "observation: concatenate them"
        )
    first = (inputs or list(layers))[0].config
    shape = (
        first.get("batch_shape")
        or first.get("batch_input_shape")
        or config.get("build_input_shape")
    )
    if not shape:
        raise InputError(
            f"{path.name}: the model does not say its input's shape: start it with "
            "keras.Input(shape=...) and save it again"
        )
    if len(shape) not in (2, 4) or not all(
        isinstance(length, int) and 0 < length < 1 << 24 for length in shape[1:]
    ):
        raise UnsupportedError(
            f"{path.name}: the input has shape {tuple(shape[1:])}, quarl carries [features] "
            "or [height, width, channels] of fixed lengths"
        )
    dtype = first.get("dtype") if inputs else "float32"
    name = dtype if isinstance(dtype, str) else "float32"
    if name not in ("float32", "uint8"):
        raise UnsupportedError(
            f"{path.name}: the input has type {name}, quarl carries float32 vectors and uint8 "
            "images: change the input"
        )
    return tuple(shape[1:]), name


def _is_keras(entry: Config) -> bool:
    """Whether an entry is Keras' own class, not the user's; old files name no module."""
    module = entry.get("module")
    return module is None or str(module).split(".")[0] in ("keras", "tf_keras")


def _layers(path: Path, config: Config) -> tuple[LayerSpec, ...]:
    specs = []
    for entry in config["layers"]:
        kind, settings = str(entry["class_name"]), entry["config"]
        name = str(entry.get("name") or settings["name"])
        if not _is_keras(entry):
            raise UnsupportedError(
                f"{path.name}: layer {name!r} is of the class {kind!r}, whose Python code the "
                "file does not hold: use Keras' own layers"
            )
        operation = ".ops." in str(entry.get("module"))
        specs.append(
            LayerSpec(
                name,
                kind,
                settings,
                tuple(_call(path, name, call) for call in entry.get("inbound_nodes", ())),
                operation,
            )
        )
    return tuple(specs)


def _call(path: Path, name: str, call: Any) -> tuple[Argument, ...]:
    """Return the arguments of one call: Keras 3 writes args and kwargs, Keras 2 lists of [layer,
    call, index, kwargs].
    """
    if not isinstance(call, dict):
        pairs = [call] if call and isinstance(call[0], str) else call
        if any(len(pair) > 3 and pair[3] for pair in pairs):
            raise UnsupportedError(
                f"{path.name}: layer {name!r} is called with extra arguments: write it with "
                "Keras' own layers alone"
            )
        return tuple(TensorRef(str(pair[0]), int(pair[1]), int(pair[2])) for pair in pairs)
    extra = {
        key: value for key, value in call.get("kwargs", {}).items() if value not in (None, False)
    }
    if extra:
        raise UnsupportedError(
            f"{path.name}: layer {name!r} is called with {', '.join(extra)}: call it with its "
            "inputs alone and save again"
        )
    return tuple(_arguments(call["args"]))


def _arguments(value: Any) -> Iterator[Argument]:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        layer, call, index = value["config"]["keras_history"]
        yield TensorRef(str(layer), int(call), int(index))
    elif isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__"):
        yield np.asarray(value["config"]["value"], np.float64)
    elif isinstance(value, list):
        for item in value:
            yield from _arguments(item)
    elif value is not None:
        yield np.asarray(value, np.float64)


def _refs(value: Any) -> list[TensorRef]:
    """Return the tensors named by `input_layers` or `output_layers`: one [layer, call, index], a
    list or a dict of them.
    """
    if isinstance(value, dict):
        return [ref for item in value.values() for ref in _refs(item)]
    if value and isinstance(value[0], str):
        return [TensorRef(str(value[0]), int(value[1]), int(value[2]))]
    return [ref for item in value for ref in _refs(item)]


class _Walk:
    """Walks the layers of a model and appends what they do to a draft."""

    def __init__(self, path: Path, builder: DraftBuilder, weights: Weights) -> None:
        self.path = path
        self.builder = builder
        self.weights = weights

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
        for ref, value in zip(_refs(config["input_layers"]), inputs, strict=True):
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

    def layer(
        self, layer: LayerSpec, inputs: list[str | NDArray[np.float64]], place: str
    ) -> list[str]:
        """Return the nodes of the layer's outputs."""
        if layer.kind in MODELS and not layer.is_operation:
            tensors = [self._tensor(layer, value) for value in inputs]
            inner = _layers(self.path, layer.config)
            if layer.kind == "Sequential":
                return [self.sequential(inner, tensors[0], place)]
            return self.functional(
                layer.config, inner, tensors, place, _refs(layer.config["output_layers"])
            )
        if layer.kind == "Lambda":
            raise UntrustedFileError(
                f"{self.path.name}: layer {layer.name!r} (Lambda) is Python code inside the "
                "file, which is never run here: "
                "write what it does with Keras' own layers and save the model again"
            )
        self._check_dtype(layer)
        if layer.kind in ARITHMETIC:
            return [self._arithmetic(layer, inputs)]
        reader = LAYERS.get(layer.kind)
        if reader is None:
            raise self.unsupported(
                layer,
                f"is not among the layers that can be carried over ({', '.join(sorted(LAYERS))})",
            )
        return [reader(self, layer, [self._tensor(layer, value) for value in inputs], place)]

    def add(self, layer: LayerSpec, op: DraftOp, inputs: Sequence[str], suffix: str = "") -> str:
        """Append a node named after the layer; a `suffix` tells what the layer does besides its
        main operation.
        """
        return self.builder.add(layer.name + suffix, op, inputs, layer.name)

    def shape(self, value: str) -> tuple[int, ...]:
        """Return a node's shape without the batch."""
        return self.builder.shapes[value]

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
                if setting.get("class_name") == "function" and _is_keras(setting)
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

    def _tensor(self, layer: LayerSpec, value: str | NDArray[np.float64]) -> str:
        if not isinstance(value, str):
            raise self.unsupported(layer, "is given a constant where it takes a layer's output")
        return value

    def _check_dtype(self, layer: LayerSpec) -> None:
        dtype = layer.config.get("dtype")
        name = dtype.get("config", {}).get("name") if isinstance(dtype, dict) else dtype
        if name not in (None, "float32"):
            raise self.unsupported(layer, f"computes in {name}, only float32 is carried over")

    def _arithmetic(self, layer: LayerSpec, inputs: list[str | NDArray[np.float64]]) -> str:
        tensors = [value for value in inputs if isinstance(value, str)]
        if layer.kind == "Add" and len(tensors) == len(inputs) >= 2:
            total = tensors[0]
            for number, value in enumerate(tensors[1:]):
                total = self.add(layer, Add(), [total, value], f".{number}" if number else "")
            return total
        if len(inputs) != 2 or len(tensors) != 1:
            raise self.unsupported(
                layer, "of two layers' outputs cannot be carried over; with a constant it can"
            )
        constant = next(value for value in inputs if not isinstance(value, str))
        channels = self.shape(tensors[0])[-1]
        if constant.size != 1 and not constant.size == channels == constant.shape[-1]:
            raise self.unsupported(
                layer,
                f"has a constant of shape {constant.shape}, carried over is one value or one "
                f"per channel ({channels})",
            )
        flat, reversed_order = constant.reshape(-1), not isinstance(inputs[0], str)
        if layer.kind == "Add":
            return self.add(layer, affine(1, flat, channels), tensors)
        if layer.kind == "Subtract":
            return self.add(
                layer,
                affine(-1, flat, channels) if reversed_order else affine(1, -flat, channels),
                tensors,
            )
        if layer.kind == "Multiply":
            return self.add(layer, affine(flat, 0, channels), tensors)
        if reversed_order or not flat.all():
            raise self.unsupported(layer, "divides by a layer's output or by zero")
        return self.add(layer, affine(1 / flat, 0, channels), tensors)


ARITHMETIC = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide")


def _dense(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    shape, units = walk.shape(inputs[0]), int(layer.config["units"])
    if len(shape) != 1:
        raise walk.unsupported(
            layer,
            f"is applied to shape {shape}, only vectors are carried over (put a Flatten before it)",
        )
    kernel = walk.variable(layer, place, 0, ("kernel",), (shape[0], units))
    bias = _bias(walk, layer, place, units)
    return walk.activation(
        layer,
        layer.config.get("activation"),
        walk.add(layer, Dense(np.ascontiguousarray(kernel.T), bias), inputs),
    )


def _conv2d(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    config, shape, filters = layer.config, walk.shape(inputs[0]), int(layer.config["filters"])
    kernel_size, stride, padding = _window(
        walk, layer, shape, config["kernel_size"], config["strides"]
    )
    if config.get("groups", 1) != 1:
        raise walk.unsupported(
            layer, f"has {config['groups']} groups, carried over are one group and DepthwiseConv2D"
        )
    kernel = walk.variable(layer, place, 0, ("kernel",), (*kernel_size, shape[2], filters))
    op = Conv2D(
        np.ascontiguousarray(kernel.transpose(3, 0, 1, 2)),
        _bias(walk, layer, place, filters),
        stride,
        padding,
    )
    return walk.activation(layer, config.get("activation"), walk.add(layer, op, inputs))


def _depthwise_conv2d(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    config, shape = layer.config, walk.shape(inputs[0])
    kernel_size, stride, padding = _window(
        walk, layer, shape, config["kernel_size"], config["strides"]
    )
    if config.get("depth_multiplier", 1) != 1:
        raise walk.unsupported(
            layer, f"has depth_multiplier {config['depth_multiplier']}, only 1 is carried over"
        )
    kernel = walk.variable(
        layer, place, 0, ("kernel", "depthwise_kernel"), (*kernel_size, shape[2], 1)
    )
    op = DepthwiseConv2D(
        np.ascontiguousarray(kernel[..., 0].transpose(2, 0, 1)),
        _bias(walk, layer, place, shape[2]),
        stride,
        padding,
    )
    return walk.activation(layer, config.get("activation"), walk.add(layer, op, inputs))


def _bias(walk: _Walk, layer: LayerSpec, place: str, count: int) -> NDArray[np.float32]:
    if not layer.config.get("use_bias", True):
        return np.zeros(count, np.float32)
    return walk.variable(layer, place, 1, ("bias",), (count,))


def _window(
    walk: _Walk, layer: LayerSpec, shape: tuple[int, ...], size: Any, strides: Any
) -> tuple[tuple[int, int], tuple[int, int], Padding]:
    """Return the kernel size, the stride and the explicit padding of a convolution or a pooling."""
    config = layer.config
    if len(shape) != 3:
        raise walk.unsupported(
            layer, f"is applied to shape {shape}, it needs [height, width, channels]"
        )
    if config.get("data_format") not in (None, "channels_last"):
        raise walk.unsupported(
            layer, f"has data_format {config['data_format']!r}, only channels_last is carried over"
        )
    if _pair(config.get("dilation_rate", 1)) != (1, 1):
        raise walk.unsupported(
            layer, f"has dilation_rate {config['dilation_rate']}, only 1 is carried over"
        )
    kernel_size, stride, padding = _pair(size), _pair(strides), config.get("padding", "valid")
    if min(*kernel_size, *stride) < 1 or padding not in ("valid", "same"):
        raise walk.unsupported(
            layer, f"has kernel size {kernel_size}, stride {stride} and padding {padding!r}"
        )
    if padding == "valid":
        return kernel_size, stride, ((0, 0), (0, 0))
    rows, cols = (same_padding(shape[a], kernel_size[a], stride[a]) for a in (0, 1))
    return kernel_size, stride, (rows, cols)


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _average_pooling(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    shape, size = walk.shape(inputs[0]), layer.config["pool_size"]
    kernel_size, stride, padding = _window(
        walk, layer, shape, size, layer.config.get("strides") or size
    )
    if padding != ((0, 0), (0, 0)):
        raise walk.unsupported(
            layer,
            "pads, and counts fewer values at the border than inside, which no convolution "
            "does (use padding='valid')",
        )
    return walk.add(layer, average(*kernel_size, shape[2], stride), inputs)


def _max_pooling(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    shape, size = walk.shape(inputs[0]), layer.config["pool_size"]
    kernel_size, stride, padding = _window(
        walk, layer, shape, size, layer.config.get("strides") or size
    )
    return walk.add(layer, MaxPool2D(kernel_size, stride, padding), inputs)


def _global_average_pooling(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    shape = walk.shape(inputs[0])
    if len(shape) != 3 or layer.config.get("data_format") not in (None, "channels_last"):
        raise walk.unsupported(
            layer, f"is applied to shape {shape}, it needs [height, width, channels], channels last"
        )
    pooled = walk.add(layer, average(shape[0], shape[1], shape[2], (1, 1)), inputs)
    return (
        pooled if layer.config.get("keepdims") else walk.add(layer, Flatten(), [pooled], ".flatten")
    )


def _batch_normalization(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    config, shape = layer.config, walk.shape(inputs[0])
    channels = shape[-1]
    _check_last_axis(walk, layer, shape)
    names = [
        name
        for name, used in (
            ("gamma", config.get("scale", True)),
            ("beta", config.get("center", True)),
        )
        if used
    ]
    names += ["moving_mean", "moving_variance"]
    found = {
        name: walk.variable(layer, place, index, (name,), (channels,)).astype(np.float64)
        for index, name in enumerate(names)
    }
    scale = found.get("gamma", np.ones(channels)) / np.sqrt(
        found["moving_variance"] + float(config["epsilon"])
    )
    return walk.add(
        layer,
        affine(
            scale, found.get("beta", np.zeros(channels)) - found["moving_mean"] * scale, channels
        ),
        inputs,
    )


def _normalization(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    config, shape = layer.config, walk.shape(inputs[0])
    if config.get("invert") or (config.get("axis") is None and config.get("mean") is None):
        raise walk.unsupported(layer, "with invert=True or axis=None cannot be carried over")
    if config.get("axis") is not None:
        _check_last_axis(walk, layer, shape)
    if config.get("mean") is not None:
        mean, variance = (
            np.ravel(np.asarray(config[key], np.float64)) for key in ("mean", "variance")
        )
    else:
        mean, variance = (
            walk.variable(layer, place, index, (name,), (shape[-1],)).astype(np.float64)
            for index, name in enumerate(("mean", "variance"))
        )
    scale = 1 / np.maximum(np.sqrt(variance), NORMALIZATION_EPSILON)
    return walk.add(layer, affine(scale, -mean * scale, shape[-1]), inputs)


def _check_last_axis(walk: _Walk, layer: LayerSpec, shape: tuple[int, ...]) -> None:
    axis = layer.config.get("axis", -1)
    axes = [axis] if isinstance(axis, int) else list(axis)
    if axes not in ([-1], [len(shape)]):
        raise walk.unsupported(layer, f"works along axis {axis}, only the last one is carried over")


def _rescaling(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    scale, offset = (
        np.ravel(np.asarray(layer.config.get(key, default), np.float64))
        for key, default in (("scale", 1), ("offset", 0))
    )
    return walk.add(layer, affine(scale, offset, walk.shape(inputs[0])[-1]), inputs)


def _activation(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    return walk.activation(layer, layer.config["activation"], inputs[0], suffix=False)


def _relu(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    config = layer.config
    slope, threshold, maximum = (
        config.get(key) for key in ("negative_slope", "threshold", "max_value")
    )
    if slope or threshold or maximum not in (None, 6):
        raise walk.unsupported(
            layer,
            f"has slope {slope}, threshold {threshold}, maximum {maximum}: carried over are "
            "0, 0 and none or 6",
        )
    return walk.add(layer, Activation("relu" if maximum is None else "relu6"), inputs)


def _elu(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    if layer.config.get("alpha", 1) != 1:
        raise walk.unsupported(layer, f"has alpha {layer.config['alpha']}, only 1 is carried over")
    return walk.add(layer, Activation("elu"), inputs)


def _softmax(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    if layer.config.get("axis", -1) not in (-1, len(walk.shape(inputs[0]))):
        raise walk.unsupported(
            layer, f"works along axis {layer.config['axis']}, only the last one is carried over"
        )
    return walk.add(layer, Head("softmax"), inputs)


def _flatten(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    if layer.config.get("data_format") not in (None, "channels_last"):
        raise walk.unsupported(layer, "with channels_first cannot be carried over")
    return inputs[0] if len(walk.shape(inputs[0])) == 1 else walk.add(layer, Flatten(), inputs)


def _reshape(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    shape, target = walk.shape(inputs[0]), tuple(layer.config["target_shape"])
    if target == shape:
        return inputs[0]
    if target in ((-1,), (int(np.prod(shape)),)):
        return _flatten(walk, layer, inputs, place)
    raise walk.unsupported(
        layer, f"turns shape {shape} into {target}, only flattening is carried over"
    )


def _concatenate(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    _check_last_axis(walk, layer, walk.shape(inputs[0]))
    return walk.add(layer, Concat(), inputs) if len(inputs) > 1 else inputs[0]


def _nothing(walk: _Walk, layer: LayerSpec, inputs: list[str], place: str) -> str:
    """Dropout and noise act in training only; casts and Identity change nothing here."""
    return inputs[0]


def _function(function: Function) -> Callable[[_Walk, LayerSpec, list[str], str], str]:
    return lambda walk, layer, inputs, place: walk.add(layer, Activation(function), inputs)


LAYERS: dict[str, Callable[[_Walk, LayerSpec, list[str], str], str]] = {
    "Activation": _activation,
    "AveragePooling2D": _average_pooling,
    "BatchNormalization": _batch_normalization,
    "Cast": _nothing,
    "Concatenate": _concatenate,
    "Conv2D": _conv2d,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise_conv2d,
    "Dropout": _nothing,
    "ELU": _elu,
    "Elu": _elu,
    "Flatten": _flatten,
    "GaussianDropout": _nothing,
    "GaussianNoise": _nothing,
    "GlobalAveragePooling2D": _global_average_pooling,
    "Identity": _nothing,
    "MaxPooling2D": _max_pooling,
    "Normalization": _normalization,
    "ReLU": _relu,
    "Relu": _function("relu"),
    "Relu6": _function("relu6"),
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "Sigmoid": _function("sigmoid"),
    "Softmax": _softmax,
    "SpatialDropout2D": _nothing,
    "Tanh": _function("tanh"),
}
