"""What a refusal of a model of Keras, a SavedModel or a .tflite advises is done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import QuarlError
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers import ImportOptions, read_policy
from tests.conftest import need
from tests.support.sources.sample import choice, image, told
from tests.support.tflite_models import keras_and_tensorflow

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras.*")
CHOICE = told(choice(3))
PIXELS = told(choice(3), image(8, 8, 3))
Build = Callable[[Any, Any], Any]


def refused(path: Path, advice: str, options: ImportOptions = CHOICE) -> str:
    with pytest.raises(QuarlError) as caught:
        read_policy(path, options)
    assert caught.value.exit_code == 2
    assert advice in str(caught.value)
    return str(caught.value)


def chain(*layers: Any, shape: Any = (5,), **more: Any) -> Any:
    keras, _ = keras_and_tensorflow()
    return keras.Sequential([keras.Input(shape, **more), *layers, keras.layers.Dense(3)])


def plain(keras: Any, L: Any) -> Any:
    return chain(L.Dense(8, "tanh"))


def two_inputs(keras: Any, L: Any) -> Any:
    inputs = [keras.Input((2,)), keras.Input((3,))]
    return keras.Model(inputs, L.Dense(3)(L.Concatenate()(inputs)))


def unbuilt(keras: Any, L: Any) -> Any:
    return keras.Sequential([L.Dense(8, "tanh"), L.Dense(3)])


def custom_class(keras: Any, L: Any) -> Any:
    class Mine(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = L.Dense(8, "tanh"), L.Dense(3)

        def call(self, x: Any) -> Any:
            return self.two(self.one(x))

    model = Mine()
    model(np.zeros((1, 5), np.float32))
    return model


def custom_layer(keras: Any, L: Any) -> Any:
    class Mine(L.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    return chain(Mine())


def called_with_more(keras: Any, L: Any) -> Any:
    inputs = keras.Input((5,))
    return keras.Model(inputs, L.Dense(3)(L.Dropout(0.1)(inputs, training=True)))


def of_pictures(*layers: Any) -> Any:
    keras, _ = keras_and_tensorflow()
    L = keras.layers
    return chain(L.Rescaling(1 / 255), *layers, shape=(8, 8, 3))


def pooled(padding: str) -> Build:
    return lambda keras, L: of_pictures(L.AveragePooling2D(3, padding=padding), L.Flatten())


KERAS: dict[str, tuple[Build, str, Build, ImportOptions]] = {
    "inputs": (
        two_inputs,
        "concatenate them, or give the SavedModel of model.export(DIR)",
        plain,
        CHOICE,
    ),
    "no shape": (
        unbuilt,
        "start it with keras.Input(shape=...) and save it again",
        plain,
        CHOICE,
    ),
    "integers": (
        lambda keras, L: chain(L.Dense(8), dtype="int32"),
        "change the input",
        plain,
        CHOICE,
    ),
    "class": (
        custom_class,
        "build it as keras.Sequential or with the functional API, load the weights into it",
        plain,
        CHOICE,
    ),
    "layer": (custom_layer, "use Keras' own layers", plain, CHOICE),
    "lambda": (
        lambda keras, L: chain(L.Lambda(lambda x: 2 * x), L.Dense(8)),
        "write what it does with Keras' own layers and save the model again",
        lambda keras, L: chain(L.Rescaling(2), L.Dense(8)),
        CHOICE,
    ),
    "call": (called_with_more, "call it with its inputs alone and save again", plain, CHOICE),
    "pixels": (
        lambda keras, L: of_pictures(L.Dense(4)),
        "put a Flatten before it",
        lambda keras, L: of_pictures(L.Flatten(), L.Dense(4)),
        PIXELS,
    ),
    "border": (pooled("same"), "use padding='valid'", pooled("valid"), PIXELS),
    "unknown": (
        lambda keras, L: chain(L.GaussianNoise(0.1), L.UnitNormalization()),
        "change the network and train it again",
        lambda keras, L: chain(L.GaussianNoise(0.1)),
        CHOICE,
    ),
}


@pytest.mark.parametrize("name", list(KERAS))
def test_a_model_is_built_as_advised(name: str, tmp_path: Path) -> None:
    need("tensorflow")
    keras, _ = keras_and_tensorflow()
    bad, advice, good, options = KERAS[name]
    path = tmp_path / "policy.keras"
    bad(keras, keras.layers).save(path)
    refused(path, advice, options)
    good(keras, keras.layers).save(path)
    policy = read_policy(path, options)
    assert isinstance(policy, Policy)
    assert policy.contract.action.count == 3


def test_the_weights_of_a_class_are_loaded_into_a_functional_model(tmp_path: Path) -> None:
    need("tensorflow")
    keras, _ = keras_and_tensorflow()
    model, again = custom_class(keras, keras.layers), plain(keras, keras.layers)
    again.set_weights(model.get_weights())
    again.save(tmp_path / "policy.keras")
    obs = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    policy = read_policy(tmp_path / "policy.keras", CHOICE)
    assert isinstance(policy, Policy)
    np.testing.assert_allclose(policy.outputs(obs), np.array(model(obs)), atol=1e-5)


@pytest.mark.slow
def test_a_savedmodel_is_exported_as_advised(tmp_path: Path) -> None:
    need("tensorflow")
    keras, tensorflow = keras_and_tensorflow()
    model, path = plain(keras, keras.layers), tmp_path / "policy"
    tensorflow.saved_model.save(tensorflow.Module(), path)
    refused(path, "export the policy alone, for example with model.export(DIR)")
    shutil.rmtree(path)
    model.export(path, verbose=False)
    assert isinstance(read_policy(path, CHOICE), Policy)
    two_inputs(keras, keras.layers).export(tmp_path / "two", verbose=False)
    assert read_policy(tmp_path / "two", CHOICE).contract.observation.shape == (5,)
    content = (path / "saved_model.pb").read_bytes()
    (path / "saved_model.pb").write_bytes(content[: len(content) // 2])
    refused(path, "copy the whole folder again")
    (path / "saved_model.pb").write_bytes(content)
    assert isinstance(read_policy(path, CHOICE), Policy)


def converted(model: Any, *, integers: bool = False, **settings: Any) -> bytes:
    _, tensorflow = keras_and_tensorflow()
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(model)
    if integers:
        shape = model.inputs[0].shape[1:]
        rng = np.random.default_rng(0)
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [rng.random((1, *shape), np.float32)] for _ in range(50)
        )
        converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
        kind = settings.pop("kind", tensorflow.int8)
        converter.inference_input_type = converter.inference_output_type = kind
    made: bytes = converter.convert()
    return made


@pytest.mark.slow
def test_a_tflite_is_converted_as_advised(tmp_path: Path) -> None:
    need("tensorflow")
    keras, _ = keras_and_tensorflow()
    L, path = keras.layers, tmp_path / "policy.tflite"
    content = converted(plain(keras, L))
    path.write_bytes(content[: len(content) // 2])
    refused(path, "copy it again, or convert the model again")
    path.write_bytes(content)
    assert isinstance(read_policy(path, CHOICE), Policy)
    inputs = keras.Input((5,))
    sums = keras.Model(inputs, L.Dense(3)(keras.ops.cumsum(inputs, axis=1)))
    path.write_bytes(converted(sums))
    refused(path, "give quarl the model this file was converted from")
    plain(keras, L).save(tmp_path / "policy.keras")
    assert isinstance(read_policy(tmp_path / "policy.keras", CHOICE), Policy)
    path.write_bytes(converted(plain(keras, L), integers=True))
    assert isinstance(read_policy(path, CHOICE), QuantPolicy)
