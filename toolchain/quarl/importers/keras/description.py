"""What a Keras description says: layers, their calls, and the tensors these name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quarl.errors import UnsupportedError

MODELS = ("Sequential", "Functional", "Model")
Config: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TensorRef:
    """The output `index` of a layer's call number `call`."""

    layer: str
    call: int
    index: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Part of an axis, as Python's slice."""

    start: int | None
    stop: int | None
    step: int | None


Argument: TypeAlias = TensorRef | NDArray[np.float64] | Slice


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


def is_keras(entry: Config) -> bool:
    """Whether an entry is Keras' own class, not the user's; old files name no module."""
    module = entry.get("module")
    return module is None or str(module).split(".")[0] in ("keras", "tf_keras")


def layers_of(path: Path, config: Config) -> tuple[LayerSpec, ...]:
    """Return the layers a model's configuration lists."""
    specs = []
    for entry in config["layers"]:
        kind, settings = str(entry["class_name"]), entry["config"]
        name = str(entry.get("name") or settings["name"])
        if not is_keras(entry):
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
    elif isinstance(value, dict) and value.get("class_name") == "__slice__":
        config = value["config"]
        numbers = [config[key] for key in ("start", "stop", "step")]
        start, stop, step = (None if number is None else int(number) for number in numbers)
        yield Slice(start, stop, step)
    elif isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__"):
        yield np.asarray(value["config"]["value"], np.float64)
    elif isinstance(value, list):
        for item in value:
            yield from _arguments(item)
    elif value is not None:
        yield np.asarray(value, np.float64)


def refs_of(value: Any) -> list[TensorRef]:
    """Return the tensors named by `input_layers` or `output_layers`: one [layer, call, index], a
    list or a dict of them.
    """
    if isinstance(value, dict):
        return [ref for item in value.values() for ref in refs_of(item)]
    if value and isinstance(value[0], str):
        return [TensorRef(str(value[0]), int(value[1]), int(value[2]))]
    return [ref for item in value for ref in refs_of(item)]
