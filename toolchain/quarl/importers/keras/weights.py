"""Where the numbers of a Keras layer lie: in a `.keras` zip, or in an `.h5` file."""

from __future__ import annotations

import re
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.importers.hdf5 import Hdf5File
from quarl.importers.keras.description import LayerSpec

_CELL = re.compile(r"_cell(_\d+)?$")  # the group of a recurrent layer's cell


class Weights(Protocol):
    """Where the numbers of a layer are found; `place` is what `child` gave for it."""

    def child(self, place: str, layer: LayerSpec, number: int) -> str:
        """Return the place of a layer inside a model: the `number`-th of its kind."""

    def cell(self, place: str) -> str:
        """Return the place of the cell inside a recurrent layer."""

    def array(
        self,
        place: str,
        layer: LayerSpec,
        index: int,
        names: tuple[str, ...],
        shape: tuple[int, ...],
    ) -> NDArray[np.float32]:
        """Return the layer's variable number `index`, called one of `names`, float32 of `shape`."""


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

    def cell(self, place: str) -> str:
        """Return the cell's own group."""
        return f"{place}/cell"

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

    def cell(self, place: str) -> str:
        """Return the layer's group: variables of a cell are told by their names."""
        return place

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
        paths = [(name, tuple(name.removesuffix(":0").split("/")[-2:])) for name in listed]
        found = [
            name
            for name, path in paths
            if path in wanted or (_CELL.search(path[0]) and path[-1] in names)
        ]
        if len(found) != 1:
            raise InputError(
                f"{self._hdf5.name}: layer {layer.name!r} has {len(found)} variables called "
                f"{' or '.join(names)}, one is needed: "
                "save the model again as .keras"
            )
        return self._hdf5.array(f"{place}/{found[0]}", shape)
