"""A Keras file: the model's description in JSON and where its numbers are found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from quarl.errors import InputError
from quarl.files.archives import Archive
from quarl.files.open import open_file
from quarl.importers.detect import ZIP_MAGIC
from quarl.importers.hdf5 import open_hdf5
from quarl.importers.keras.description import Config
from quarl.importers.keras.weights import LegacyWeights, Weights, ZipWeights

MAX_CONFIG_BYTES = 1 << 24
UNKNOWN = "of unknown version"


@dataclass(frozen=True, slots=True)
class KerasFile:
    """A saved model: its description, its numbers, the Keras that wrote it."""

    path: Path
    model: Config
    weights: Weights
    framework: str


def open_keras(path: Path) -> KerasFile:
    """Return the saved model in a `.keras` zip or a whole-model `.h5`, recognised by content."""
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
            f"{path.name}: the model's description is not a model: save the whole model, "
            "model.save('policy.keras')"
        )
    return found
