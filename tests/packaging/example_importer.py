"""Policies in a JSON file of dense layers: an importer as small as one can be, for
CONTRIBUTING.md.

In: `{"layers": [{"weights": [[...]], "bias": [...], "activation": "tanh"}, ...]}`, weights [out,
in]. The last layer has no activation; the largest output is the action. Out: a `Policy`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarl.errors import InputError
from quarl.files.open import read_file, source_digest
from quarl.graph.policy import INPUT, Activation, Dense, Policy
from quarl.importers.draft import DraftBuilder, Head
from quarl.importers.fold import finish
from quarl.importers.options import ImportOptions

MAX_BYTES = 10_000_000


def read_layers_json(path: Path, options: ImportOptions) -> Policy:
    """Return the policy in the file.

    Raises:
        InputError: damaged, or the layers do not fit each other.
        UnsupportedError: an activation that is not known.
    """
    try:
        layers = json.loads(read_file(path, MAX_BYTES))["layers"]
        builder = DraftBuilder(path, (_floats(layers[0]["weights"]).shape[1],))
        name = INPUT
        for index, layer in enumerate(layers):
            dense = Dense(_floats(layer["weights"]), _floats(layer["bias"]))
            name = builder.add(f"dense{index}", dense, [name], f"layers[{index}]")
            if activation := layer.get("activation"):
                name = builder.add(f"{activation}{index}", Activation(activation), [name], "")
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise InputError(f"{path.name}: damaged ({error!r}): save the policy again") from error
    name = builder.add("argmax", Head("argmax"), [name], "")
    draft = builder.draft(name, "vector", "float32", "layers_json", source_digest(path))
    return finish(path, draft, options)


def _floats(values: object) -> NDArray[np.float32]:
    return np.array(values, np.float32)
