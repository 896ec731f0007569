"""Writes keras2_models.json: two models as Keras 2 describes and names them in an `.h5`, and the
outputs it computes.

Run in an environment of its own with `pip install tf-keras==2.21.0 tensorflow-cpu==2.21.0`: python
tests/golden/keras2_models.py Weights are not stored: both sides draw them from `weights_for`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def weights_for(names: Sequence[str], shapes: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
    """Return the same arbitrary numbers for the same names and shapes; variances positive."""
    rng = np.random.default_rng(9)
    lows = [0.5 if "variance" in name else -0.5 for name in names]
    return [
        rng.uniform(low, low + 1, tuple(shape)).astype(np.float32)
        for low, shape in zip(lows, shapes, strict=True)
    ]


def observations(shape: Sequence[int], dtype: str) -> NDArray[Any]:
    """Return four observations."""
    rng = np.random.default_rng(10)
    return (
        rng.integers(0, 256, (4, *shape)).astype(np.uint8)
        if dtype == "uint8"
        else rng.normal(size=(4, *shape)).astype(np.float32)
    )


def _models(keras: Any) -> dict[str, Any]:
    layers = keras.layers
    x = layers.Input((11, 8, 3), dtype="uint8")
    h = layers.Conv2D(4, (3, 2), strides=2, padding="same")(layers.Rescaling(1 / 255)(x))
    h = layers.DepthwiseConv2D(2)(layers.ReLU()(layers.BatchNormalization()(h)))
    h = layers.Flatten()(h)
    joined = layers.Concatenate()(
        [layers.Dense(4, activation="tanh")(h), layers.Dense(4, activation="relu")(h)]
    )
    body = keras.Sequential(
        [layers.Input((5,)), layers.Dense(4, activation="relu"), layers.Dense(4)]
    )
    vector = [layers.Normalization(input_shape=(5,)), body, layers.Dropout(0.2), layers.Dense(3)]
    return {"image": keras.Model(x, layers.Dense(3)(joined)), "vector": keras.Sequential(vector)}


def main() -> None:
    """Build the models, save each, and write down what the files say."""
    import tempfile

    import h5py
    import tf_keras

    document = {}
    for name, model in _models(tf_keras).items():
        names = [variable.name for variable in model.weights]
        floats = [
            index
            for index, variable in enumerate(model.weights)
            if "float" in str(variable.dtype.name)
        ]
        values = weights_for([names[i] for i in floats], [model.weights[i].shape for i in floats])
        for index, value in zip(floats, values, strict=True):
            model.weights[index].assign(value)
        for layer in model.layers:
            if layer.__class__.__name__ == "Normalization":
                layer.finalize_state()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.h5"
            model.save(path)
            with h5py.File(path) as file:
                groups = file["model_weights"]
                listed = {
                    group: [str(n) for n in groups[group].attrs["weight_names"]]
                    for group in groups
                    if len(groups[group])
                }
                shapes = {
                    group: [list(groups[group][n].shape) for n in found]
                    for group, found in listed.items()
                }
                config, version = (
                    json.loads(file.attrs["model_config"]),
                    str(file.attrs["keras_version"]),
                )
        order = [names[i] for i in floats]
        dtype = "uint8" if name == "image" else "float32"
        obs = observations(model.input_shape[1:], dtype)
        outputs = np.asarray(model(obs, training=False)).tolist()
        document[name] = {
            "keras_version": version,
            "model_config": config,
            "weight_names": listed,
            "shapes": shapes,
            "order": order,
            "dtype": dtype,
            "outputs": outputs,
        }
    Path(__file__).with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
