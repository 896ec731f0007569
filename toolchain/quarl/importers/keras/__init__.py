"""Keras models (`.keras`, and `.h5` of Keras 2 and 3) read as data: JSON and HDF5, without Keras
and without running anything.

In: a Sequential or Functional model saved whole. Out: a `Policy`. Layers whose meaning lies in
Python code (Lambda, own classes) are refused, and so is everything without an exact counterpart;
both by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.files.open import source_digest
from quarl.graph.policy import INPUT, Policy
from quarl.importers.draft import Draft, DraftBuilder
from quarl.importers.fold import finish
from quarl.importers.keras.description import (
    MODELS,
    Config,
    LayerSpec,
    TensorRef,
    is_keras,
    layers_of,
    refs_of,
)
from quarl.importers.keras.file import KerasFile, open_keras
from quarl.importers.keras.layers import LAYERS
from quarl.importers.keras.walk import Walk
from quarl.importers.options import ImportOptions
from quarl.importers.outputs import choose_output


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
            f"{path.name}: the model's description is nested too deeply: this is not a policy"
        ) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path.name}: the model's description is damaged ({error!r}): save the model again"
        ) from error


def _outputs(file: KerasFile, digest: str) -> dict[str, Callable[[], Draft]]:
    kind, config = str(file.model["class_name"]), file.model["config"]
    if kind not in MODELS or not is_keras(file.model):
        raise UnsupportedError(
            f"{file.path.name}: the model is of the class {kind!r}, whose Python code the "
            "file does not hold: "
            "build it as keras.Sequential or with the functional API, load the weights into "
            "it and save it"
        )
    layers = layers_of(file.path, config)
    if kind == "Sequential":
        return {
            layers[-1].name if layers else "output": partial(_draft, file, config, None, digest)
        }
    refs = refs_of(config["output_layers"])
    unique = len({ref.layer for ref in refs}) == len(refs)
    names = [ref.layer if unique else f"{ref.layer}:{ref.call}:{ref.index}" for ref in refs]
    return {
        name: partial(_draft, file, config, ref, digest)
        for name, ref in zip(names, refs, strict=True)
    }


def _draft(file: KerasFile, config: Config, output: TensorRef | None, digest: str) -> Draft:
    path, layers = file.path, layers_of(file.path, config)
    shape, dtype = _input(path, config, layers)
    builder = DraftBuilder(path, shape)
    walk = Walk(path, builder, file.weights, LAYERS)
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
