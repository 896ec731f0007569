"""Files that TensorFlow's converter writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.sources.keras_files import moved
from tests.support.sources.sample import Sample, box, choice, told
from tests.support.tflite_models import convert, keras_and_tensorflow


def tflite_file(build: Callable[[Any], Any], kind: str) -> Callable[[Path], Path]:
    """Return the maker of a `.tflite` of one kind from `build(keras)`."""

    def make(folder: Path) -> Path:
        keras, tf = keras_and_tensorflow()
        model = moved(build(keras))
        frames = np.random.default_rng(0).uniform(-1, 1, (16, *model.input_shape[1:]))
        rows = frames.astype(np.float32)
        match kind:
            case "FLOAT":
                content = convert(model, None, kind="FLOAT")
            case "FLOAT16":
                converter = tf.lite.TFLiteConverter.from_keras_model(model)
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.target_spec.supported_types = [tf.float16]
                content = converter.convert()
            case "DYNAMIC":
                content = convert(model, None)
            case "INT16":
                content = convert(model, rows, None, kind="INT16")
            case _:
                content = convert(model, rows)
        path = folder / "policy.tflite"
        path.write_bytes(content)
        return path

    return make


def mlp(keras: Any) -> Any:
    L = keras.layers
    return keras.Sequential([L.Input((5,)), L.Dense(32, "relu"), L.Dense(32, "tanh"), L.Dense(3)])


def spectra(keras: Any) -> Any:
    L = keras.layers
    return keras.Sequential(
        [
            L.Input((12, 10, 1)),
            L.Conv2D(4, 3, activation="relu"),
            L.Flatten(),
            L.Dense(3, "softmax"),
        ]
    )


def row(kind: str, operators: str, space: str, make: Any, options: Any) -> Sample:
    return Sample(f"{kind} .tflite", operators, space, make, options, is_slow=True)


DENSE, FEATURES = "dense, ReLU, tanh", "vector, Discrete"
TFLITE: tuple[Sample, ...] = (
    row("float32", DENSE, FEATURES, tflite_file(mlp, "FLOAT"), told(choice(3))),
    row("float16", DENSE, FEATURES, tflite_file(mlp, "FLOAT16"), told(choice(3))),
    row("dynamic-range", DENSE, FEATURES, tflite_file(mlp, "DYNAMIC"), told(choice(3))),
    row("16x8", DENSE, FEATURES, tflite_file(mlp, "INT16"), told(choice(3))),
    row("int8", DENSE, "vector, Box", tflite_file(mlp, "INT8"), told(box(3))),
    row("int8", "convolution", "spectra, Discrete", tflite_file(spectra, "INT8"), told()),
)
