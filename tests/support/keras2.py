"""Whole-model `.h5` files as Keras 2 wrote them, made from tests/golden/keras2_models.json."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden.keras2_models import weights_for

GOLDEN = Path(__file__).parents[1] / "golden" / "keras2_models.json"


def keras2_model(name: str) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of the model's file, and what the golden record says of it."""
    import h5py

    golden = json.loads(GOLDEN.read_text())[name]
    shape_of = {
        variable: shape
        for group, listed in golden["weight_names"].items()
        for variable, shape in zip(listed, golden["shapes"][group], strict=True)
    }
    order = golden["order"]
    values = dict(zip(order, weights_for(order, [shape_of[n] for n in order]), strict=True))
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.attrs["model_config"] = json.dumps(golden["model_config"])
        file.attrs["keras_version"] = golden["keras_version"]
        for group, listed in golden["weight_names"].items():
            file.create_group(f"model_weights/{group}").attrs["weight_names"] = [
                variable.encode() for variable in listed
            ]
            for variable in listed:
                file[f"model_weights/{group}/{variable}"] = values.get(variable, np.int64(0))
    return out.getvalue(), golden
