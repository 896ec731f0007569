"""Keras models (`.keras`, and `.h5` of Keras 2 and 3) read as data: JSON and HDF5, without Keras
and without running anything.

In: a Sequential or Functional model saved whole. Out: a `Policy`. Layers whose meaning lies in
Python code (Lambda, own classes) are refused, and so is everything without an exact counterpart;
both by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.files.open import source_digest
from quarl.graph.contract import Layout
from quarl.graph.policy import INPUT, Policy
from quarl.importers.draft import Draft, DraftBuilder
from quarl.importers.fold import finish
from quarl.importers.keras.arithmetic import PAIRS
from quarl.importers.keras.cells import CELLS
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
from quarl.importers.outputs import NotAPolicyError, Output, choose_output


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
        return choose_output(path, KerasOutputs(file, source_digest(path)), options)
    except RecursionError as error:
        raise UntrustedFileError(
            f"{path.name}: the model's description is nested too deeply: this is not a policy"
        ) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path.name}: the model's description is damaged ({error!r}): save the model again"
        ) from error


class KerasOutputs:
    """The outputs of one model, as `choose_output` asks for them."""

    def __init__(self, file: KerasFile, digest: str) -> None:
        kind = str(file.model["class_name"])
        if kind not in MODELS or not is_keras(file.model):
            raise UnsupportedError(
                f"{file.path.name}: the model is of the class {kind!r}, whose Python code the "
                "file does not hold: "
                "build it as keras.Sequential or with the functional API, load the weights into "
                "it and save it"
            )
        self.file, self.digest, self.config = file, digest, file.model["config"]
        self.layers = layers_of(file.path, self.config)
        self.refs: dict[str, TensorRef | None] = {}
        if kind == "Sequential":
            self.refs[self.layers[-1].name if self.layers else "output"] = None
        else:
            refs = refs_of(self.config["output_layers"])
            unique = len({ref.layer for ref in refs}) == len(refs)
            for ref in refs:
                name = ref.layer if unique else f"{ref.layer}:{ref.call}:{ref.index}"
                self.refs[name] = ref

    @property
    def listed(self) -> tuple[Output, ...]:
        """All outputs, in the file's order; their words are the layers that lead to one alone."""
        reads = {name: self._layers_to(ref) for name, ref in self.refs.items()}
        return tuple(
            Output(
                name,
                (name, *sorted(read.difference(*(reads[o] for o in reads if o != name)))),
            )
            for name, read in reads.items()
        )

    def read(self, names: Sequence[str]) -> Draft:
        """Return the draft that ends in these outputs, joined where they are several."""
        path = self.file.path
        shape, dtype = _input(path, self.config, self.layers)
        is_open = len(shape) == 2 and shape[0] is None
        shape = (1, *shape[1:]) if is_open else shape
        is_window = len(shape) == 2
        builder = DraftBuilder(path, (int(np.prod(shape)),) if is_window else shape)
        walk = Walk(path, builder, self.file.weights, {**LAYERS, **CELLS}, PAIRS)
        walk.is_open = is_open
        if is_window:
            walk.windows[INPUT] = shape
        refs = [self.refs[name] for name in names]
        if refs[0] is None:
            ends = [walk.sequential(self.layers, INPUT, "")]
        else:
            wanted = [ref for ref in refs if ref is not None]
            ends = walk.functional(self.config, self.layers, [INPUT], "", wanted)
        end = ends[0] if len(ends) == 1 else walk.joined(ends)
        layout: Layout = "hwc" if len(shape) == 3 else "vector"
        if end == INPUT:
            raise NotAPolicyError("an input passed on")
        return builder.draft(end, layout, dtype, self.file.framework, self.digest)

    def _layers_to(self, ref: TensorRef | None) -> set[str]:
        """Return the names of the layers that lead to an output."""
        by_name = {layer.name: layer for layer in self.layers}
        found: set[str] = set()
        stack = [] if ref is None else [ref]
        while stack:
            current = stack.pop()
            if current.layer in found or current.layer not in by_name:
                continue
            found.add(current.layer)
            calls = by_name[current.layer].calls
            stack += [a for call in calls for a in call if isinstance(a, TensorRef)]
        return found


def _input(path: Path, config: Config, layers: Sequence[LayerSpec]) -> tuple[tuple[int, ...], str]:
    """Return the shape without the batch and the dtype of the one input."""
    inputs = [layer for layer in layers if layer.kind == "InputLayer"]
    if len(inputs) > 1:
        names = ", ".join(layer.name for layer in inputs)
        raise UnsupportedError(
            f"{path.name}: the model has {len(inputs)} inputs ({names}), quarl carries one "
            "observation: concatenate them, or give the SavedModel of model.export(DIR), whose "
            "inputs are read"
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
    is_recurrent = any(layer.kind in CELLS for layer in layers)
    open_steps = is_recurrent and len(shape) == 3 and shape[1] is None
    if len(shape) not in (2, 3, 4) or not all(
        isinstance(length, int) and 0 < length < 1 << 24
        for length in shape[2 if open_steps else 1 :]
    ):
        raise UnsupportedError(
            f"{path.name}: the input has shape {tuple(shape[1:])}, quarl carries [features], "
            "[history, features] and [height, width, channels] of fixed lengths"
        )
    dtype = first.get("dtype") if inputs else "float32"
    name = dtype if isinstance(dtype, str) else "float32"
    if name not in ("float32", "uint8"):
        raise UnsupportedError(
            f"{path.name}: the input has type {name}, quarl carries float32 vectors and uint8 "
            "images: change the input"
        )
    return tuple(shape[1:]), name
