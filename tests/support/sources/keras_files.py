"""Files that Keras writes, and SavedModels of TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quarl.graph.contract import Action
from tests.support.sources.sample import Sample, box, choice, told
from tests.support.tflite_models import keras_and_tensorflow


def keras_file(
    build: Callable[[Any, Any], Any], name: str = "policy.keras"
) -> Callable[[Path], Path]:
    """Return the maker of a file from `build(keras, layers)`."""

    def make(folder: Path) -> Path:
        keras, _ = keras_and_tensorflow()
        model = moved(build(keras, keras.layers))
        if name:
            model.save(folder / name)
            return folder / name
        model.export(folder / "saved", verbose=False)
        return folder / "saved"

    return make


def moved(model: Any) -> Any:
    """Return the model with its biases and statistics moved from where they begin."""
    rng = np.random.default_rng(3)
    for weight in model.weights:
        if weight.shape and len(weight.shape) == 1:
            is_positive = "var" in weight.path or "gamma" in weight.path
            weight.assign(
                rng.uniform(0.5, 1.5, weight.shape)
                if is_positive
                else rng.normal(0, 0.3, weight.shape)
            )
    return model


def mlp(keras: Any, L: Any) -> Any:
    return keras.Sequential(
        [L.Input((5,)), L.Dense(8, "swish"), L.Dense(8, "gelu"), L.Dense(8, "selu"), L.Dense(3)]
    )


def normalised(keras: Any, L: Any) -> Any:
    return keras.Sequential(
        [
            L.Input((5,)),
            L.Dense(8),
            L.BatchNormalization(),
            L.LeakyReLU(0.2),
            L.Dropout(0.1),
            L.Dense(2, "tanh"),
        ]
    )


def cnn(keras: Any, L: Any) -> Any:
    return keras.Sequential(
        [
            L.Input((12, 10, 3)),
            L.Rescaling(1 / 255),
            L.Conv2D(4, 3, padding="same"),
            L.BatchNormalization(),
            L.ReLU(),
            L.MaxPooling2D(2),
            L.GlobalAveragePooling2D(),
            L.Dense(3, "softmax"),
        ]
    )


def window(keras: Any, L: Any) -> Any:
    return keras.Sequential(
        [L.Input((8, 3)), L.Conv1D(4, 3, activation="elu"), L.Flatten(), L.Dense(2)]
    )


def duelling(keras: Any, L: Any) -> Any:
    x = L.Input((5,))
    h = L.Dense(8, "relu")(x)
    value, gain = L.Dense(1)(h), L.Dense(3)(h)
    mean = keras.ops.mean(gain, axis=1, keepdims=True)
    return keras.Model(x, value + (gain - mean))


def pilot(keras: Any, L: Any) -> Any:
    x = L.Input((5,))
    h = L.Dense(8, "relu")(x)
    return keras.Model(
        x, [L.Dense(1, "tanh", name="angle")(h), L.Dense(1, "sigmoid", name="throttle")(h)]
    )


def residual(keras: Any, L: Any) -> Any:
    x = L.Input((5,))
    h = L.Dense(8, "relu")(x)
    return keras.Model(x, L.Dense(3)(L.Add()([h, L.Dense(8, "tanh")(h)])))


def layer_norm(keras: Any, L: Any) -> Any:
    norm = L.LayerNormalization()
    return keras.Sequential([L.Input((5,)), L.Dense(8), norm, L.ReLU(), L.Dense(3)])


def with_lambda(keras: Any, L: Any) -> Any:
    return keras.Sequential([L.Input((5,)), L.Lambda(lambda x: x * 2), L.Dense(3)])


def agents_policy(folder: Path) -> Path:
    """As TF-Agents' PolicySaver writes a greedy policy: a signature `action` with a time step."""
    keras, tf = keras_and_tensorflow()
    model = moved(mlp(keras, keras.layers))
    specs = {
        "discount": tf.TensorSpec([None], tf.float32),
        "observation": tf.TensorSpec([None, 5], tf.float32),
        "reward": tf.TensorSpec([None], tf.float32),
        "step_type": tf.TensorSpec([None], tf.int32),
    }

    @tf.function(input_signature=list(specs.values()))  # type: ignore[untyped-decorator]
    def action(discount: Any, observation: Any, reward: Any, step_type: Any) -> Any:
        return {"action": model(observation)}

    module = tf.Module()
    module.model, module.action = model, action
    tf.saved_model.save(module, str(folder / "policy"), signatures={"action": action})
    return folder / "policy"


KERAS: tuple[Sample, ...] = (
    Sample(
        "Keras .keras", "swish, GELU, SELU", "vector, Discrete", keras_file(mlp), told(choice(3))
    ),
    Sample(
        "Keras .h5",
        "BatchNormalization, LeakyReLU, Dropout",
        "vector, Box",
        keras_file(normalised, "policy.h5"),
        told(box(2)),
    ),
    Sample("Keras .keras", "Conv2D, Rescaling, pooling", "image, Discrete", keras_file(cnn)),
    Sample("Keras .keras", "Conv1D", "window, Box", keras_file(window), told(box(2))),
    Sample(
        "Keras .keras", "duelling heads", "vector, Discrete", keras_file(duelling), told(choice(3))
    ),
    Sample(
        "Keras .keras", "residual sum", "vector, Discrete", keras_file(residual), told(choice(3))
    ),
    Sample(
        "Keras .h5 of DonkeyCar",
        "two heads, one action",
        "vector, Box",
        keras_file(pilot, "pilot.h5"),
        told(Action("box", 2, (-1.0, 0.0), (1.0, 1.0))),
    ),
    Sample(
        "Keras .keras",
        "LayerNormalization",
        "vector, Discrete",
        keras_file(layer_norm),
        told(choice(3)),
    ),
    Sample(
        "Keras .keras",
        "Lambda",
        "vector, Discrete",
        keras_file(with_lambda),
        told(choice(3)),
        refusal="Lambda",
        way="write the step with Keras' own layers",
    ),
    Sample(
        "SavedModel",
        "swish, GELU, SELU",
        "vector, Discrete",
        keras_file(mlp, ""),
        told(choice(3)),
        trusts=True,
        is_slow=True,
    ),
    Sample(
        "SavedModel of TF-Agents",
        "a time step, greedy",
        "vector, Discrete",
        agents_policy,
        told(choice(3)),
        trusts=True,
        is_slow=True,
    ),
)
