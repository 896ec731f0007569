"""Keras models written by Keras itself, read without it, and compared with what Keras computes."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quarl.errors import InputError, ToolMissingError, UnsupportedError, UntrustedFileError
from quarl.graph.contract import Action, Normalizer, Observation
from quarl.graph.policy import Activation, Conv2D, Dense, DepthwiseConv2D, Policy
from quarl.importers import ImportOptions, detect_format
from quarl.importers import read_policy as ask_policy
from quarl.importers.keras import read_keras as ask_keras
from quarl.importers.proofs.keras import outputs_of_keras
from tests.conftest import need
from tests.golden.keras2_models import observations as keras2_observations
from tests.support.answers import answering, options_of
from tests.support.keras2 import keras2_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras.*")
read_policy, read_keras = answering(ask_policy), answering(ask_keras)
TOLERANCE = 1e-5
IMAGE = (11, 8, 3)  # not square, three channels: a mistaken order of axes cannot pass
BOX = Action("box", 2, (-2.0, -3.0), (2.0, 3.0))


@pytest.fixture(scope="module")
def keras() -> Any:
    need("keras", "tensorflow")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import keras

    keras.utils.set_random_seed(7)
    return keras


def shake(model: Any) -> Any:
    """Give every variable a value of its own, so that no bias is zero and no batch statistic is
    one.
    """
    rng = np.random.default_rng(3)
    for variable in model.variables:
        if variable.dtype == "float32":
            low = 0.5 if "variance" in variable.name else -0.5
            variable.assign(rng.uniform(low, low + 1, variable.shape).astype(np.float32))
    return model


def observations(policy: Policy, count: int = 16) -> NDArray[Any]:
    rng = np.random.default_rng(5)
    shape = (count, *policy.contract.observation.shape)
    return (
        rng.integers(0, 256, shape, np.uint8)
        if policy.contract.observation.is_image
        else rng.normal(0, 2, shape).astype(np.float32)
    )


def assert_equal_to_keras(path: Path, options: ImportOptions | None = None) -> Policy:
    """Import the file and compare it with Keras; return the policy."""
    options = options or ImportOptions()
    policy = read_policy(path, options)
    obs = observations(policy)
    reference, against = outputs_of_keras(path, policy, obs, options_of(policy))
    assert against.startswith("Keras 3.")
    assert reference.shape == (len(obs), policy.contract.action.count)
    assert reference.std() > 1e-2  # a network that says nothing would agree with anything
    assert np.abs(policy.outputs(obs) - reference).max() <= TOLERANCE
    return policy


def mlp(keras: Any) -> Any:
    L = keras.layers
    return keras.Sequential(
        [
            L.Input((5,)),
            L.Dense(7, activation="tanh"),
            L.Dropout(0.5),
            L.Dense(6, activation="sigmoid", use_bias=False),
            L.Dense(6),
            L.ELU(),
            L.Dense(6, activation="relu6"),
            L.Dense(3),
        ]
    )


def cnn(keras: Any, padding: str = "same", strides: Any = (2, 1)) -> Any:
    L = keras.layers
    return keras.Sequential(
        [
            L.Input(IMAGE, dtype="uint8"),
            L.Rescaling(1 / 255),
            L.Conv2D(4, (3, 2), strides=strides, padding=padding, activation="relu"),
            L.DepthwiseConv2D((2, 3), padding=padding, use_bias=False),
            L.ReLU(max_value=6),
            L.Flatten(),
            L.Dense(6, activation="elu"),
            L.Dense(4),
        ]
    )


def branches(keras: Any) -> Any:
    L = keras.layers
    x = L.Input((5,), name="obs")
    left, right = L.Dense(4, name="left")(x), L.Dense(4, name="right", activation="relu")(x)
    tanh = L.Activation("tanh", name="squash")
    joined = L.Concatenate()([tanh(left), right, L.Add()([left, right, tanh(right)])])
    return keras.Model(x, L.Dense(3, name="out")(joined))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("make", [mlp, cnn, branches], ids=["mlp", "cnn", "branches"])
def test_a_saved_model_computes_what_keras_computes(
    keras: Any, tmp_path: Path, make: Callable[[Any], Any], suffix: str
) -> None:
    path = tmp_path / f"policy{suffix}"
    shake(make(keras)).save(path)
    policy = assert_equal_to_keras(path)
    assert detect_format(path) == "keras"
    assert policy.framework == f"keras {keras.__version__}"
    assert policy.contract.action.kind == "discrete"


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_strides_and_padding_are_those_of_keras(
    keras: Any, tmp_path: Path, padding: str, strides: tuple[int, int]
) -> None:
    path = tmp_path / "policy.keras"
    shake(cnn(keras, padding, strides)).save(path)
    assert assert_equal_to_keras(path).contract.observation == Observation(IMAGE, "uint8", "hwc")


def test_the_number_of_each_layer_is_found_where_names_are_not_in_order(
    keras: Any, tmp_path: Path
) -> None:
    L = keras.layers
    model = keras.Sequential(
        [
            L.Input((4,)),
            L.Dense(4, name="dense_9"),
            L.Dense(4, name="dense"),
            L.Dense(4, name="dense_1"),
        ]
    )
    shake(model).save(tmp_path / "policy.keras")
    assert_equal_to_keras(tmp_path / "policy.keras")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_models_inside_models_are_walked(keras: Any, tmp_path: Path, suffix: str) -> None:
    L = keras.layers
    x = L.Input((4,))
    inner = keras.Model(
        x, L.Dense(3, name="dense_a")(L.Dense(5, activation="relu", name="dense_b")(x)), name="body"
    )
    chain = keras.Sequential(
        [L.Input((3,)), L.Dense(4, activation="tanh"), L.Dense(2)], name="chain"
    )
    y = L.Input((4,))
    path = tmp_path / f"policy{suffix}"
    shake(keras.Model(y, chain(inner(y)))).save(path)
    assert_equal_to_keras(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_batch_normalisation_is_folded_before_and_after_an_activation(
    keras: Any, tmp_path: Path, suffix: str
) -> None:
    L = keras.layers
    model = keras.Sequential(
        [
            L.Input(IMAGE, dtype="uint8"),
            L.Rescaling(1 / 127.5, offset=-1.0),
            L.Conv2D(4, 3, padding="same"),
            L.BatchNormalization(),
            L.ReLU(),
            L.BatchNormalization(scale=False),
            L.Conv2D(5, 2, activation="relu"),
            L.BatchNormalization(center=False),
            L.Flatten(),
            L.Dense(6),
            L.BatchNormalization(),
            L.Activation("tanh"),
            L.BatchNormalization(),
            L.Dense(3),
        ]
    )
    path = tmp_path / f"policy{suffix}"
    shake(model).save(path)
    policy = assert_equal_to_keras(path)
    # the offset of the rescaling cannot pass the zero padding behind it: it stays, as a 1x1
    # depthwise layer of its own
    assert [type(node.op) for node in policy.nodes[:3]] == [DepthwiseConv2D, Conv2D, Activation]
    assert (
        len(
            [node for node in policy.nodes if isinstance(node.op, Dense | Conv2D | DepthwiseConv2D)]
        )
        == 5
    )


def test_average_pooling_becomes_a_depthwise_convolution(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    x = L.Input(IMAGE, dtype="uint8")
    h = L.Conv2D(4, 3, activation="relu")(L.Rescaling(1 / 255)(x))
    h = L.GlobalAveragePooling2D()(L.AveragePooling2D((2, 3))(h))
    shake(keras.Model(x, L.Dense(3)(h))).save(tmp_path / "policy.keras")
    assert_equal_to_keras(tmp_path / "policy.keras")


def test_raw_pixels_without_a_rescaling_are_scaled_in_the_first_layer(
    keras: Any, tmp_path: Path
) -> None:
    L = keras.layers
    x = L.Input(IMAGE, dtype="uint8")
    h = L.Conv2D(4, 3, padding="same", activation="tanh")(
        keras.ops.cast(x, "float32") * np.float32(0.01)
    )
    shake(keras.Model(x, L.Dense(3)(L.Flatten()(h)))).save(tmp_path / "policy.keras")
    policy = assert_equal_to_keras(tmp_path / "policy.keras")
    assert isinstance(policy.nodes[0].op, Conv2D)


def test_a_float_image_is_divided_outside_where_the_environment_gives_pixels(
    keras: Any, tmp_path: Path
) -> None:
    L = keras.layers
    model = keras.Sequential(
        [L.Input(IMAGE), L.Conv2D(4, 3, activation="relu"), L.Flatten(), L.Dense(3)]
    )
    shake(model).save(tmp_path / "policy.keras")
    with pytest.raises(InputError, match=r"does not say how pixels become them.*add --env ID"):
        read_keras(tmp_path / "policy.keras", ImportOptions())
    options = ImportOptions(observation=Observation(IMAGE, "uint8", "hwc"))
    assert_equal_to_keras(tmp_path / "policy.keras", options)


def test_a_normalisation_layer_becomes_the_normaliser_of_the_contract(
    keras: Any, tmp_path: Path
) -> None:
    L = keras.layers
    adapted = L.Normalization()
    adapted.adapt(np.random.default_rng(0).normal(3, 5, (200, 5)).astype(np.float32))
    for layer in (L.Normalization(mean=[1.0, 2, 3, 4, 5], variance=[1.0, 4, 9, 16, 25]), adapted):
        model = keras.Sequential([L.Input((5,)), layer, L.Dense(6, activation="relu"), L.Dense(3)])
        model.save(tmp_path / "policy.keras")
        policy = assert_equal_to_keras(tmp_path / "policy.keras")
        assert policy.contract.observation.normalizer is not None
        assert len(policy.nodes) == 3
    with pytest.raises(InputError, match="would do it twice"):
        read_keras(
            tmp_path / "policy.keras",
            ImportOptions(normalizer=Normalizer((0.0,) * 5, (1.0,) * 5, 1e-8, 10)),
        )


def test_a_normaliser_given_by_the_user_stands_before_the_network(
    keras: Any, tmp_path: Path
) -> None:
    shake(mlp(keras)).save(tmp_path / "policy.keras")
    options = ImportOptions(normalizer=Normalizer((0.5,) * 5, (4.0,) * 5, 1e-8, 1.5))
    assert (
        assert_equal_to_keras(tmp_path / "policy.keras", options).contract.observation.normalizer
        == options.normalizer
    )


@pytest.mark.parametrize("ending", ["layer", "activation", "setting"])
def test_a_softmax_at_the_end_is_dropped_and_the_action_stays(
    keras: Any, tmp_path: Path, ending: str
) -> None:
    L = keras.layers
    tail = {
        "layer": [L.Dense(3), L.Softmax()],
        "activation": [L.Dense(3), L.Activation("softmax")],
        "setting": [L.Dense(3, "softmax")],
    }
    model = shake(keras.Sequential([L.Input((5,)), L.Dense(6, "relu"), *tail[ending]]))
    model.save(tmp_path / "policy.keras")
    policy = assert_equal_to_keras(tmp_path / "policy.keras")
    obs = observations(policy, 64)
    probabilities = np.asarray(model(obs))
    assert isinstance(policy.nodes[-1].op, Dense)
    assert (policy.act(obs) == probabilities.argmax(axis=1)).all()
    with pytest.raises(InputError, match="ends in softmax"):
        read_keras(
            tmp_path / "policy.keras",
            ImportOptions(action_space=Action("box", 3, (-1.0,) * 3, (1.0,) * 3)),
        )


def test_a_network_that_ends_in_tanh_needs_the_action_space_and_is_stretched_to_it(
    keras: Any, tmp_path: Path
) -> None:
    L = keras.layers
    shake(keras.Sequential([L.Input((5,)), L.Dense(6, "relu"), L.Dense(2, "tanh")])).save(
        tmp_path / "policy.keras"
    )
    with pytest.raises(InputError, match=r"ends in tanh \(dense\w*\.tanh\).*--env ID"):
        ask_keras(tmp_path / "policy.keras", ImportOptions())
    policy = assert_equal_to_keras(tmp_path / "policy.keras", ImportOptions(action_space=BOX))
    assert policy.contract.action.transform == "unscale"
    assert np.abs(policy.act(observations(policy, 256))).max(axis=0) == pytest.approx(
        [2, 3], rel=0.2
    )


def test_a_tanh_stretched_inside_the_network_acts_as_keras_does(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    x = L.Input((5,))
    model = shake(
        keras.Model(x, L.Dense(2, "tanh")(L.Dense(6, "relu")(x)) * np.array([2, 3], np.float32))
    )
    model.save(tmp_path / "policy.keras")
    policy = assert_equal_to_keras(tmp_path / "policy.keras", ImportOptions(action_space=BOX))
    obs = observations(policy)
    assert policy.nodes[-1].op == Activation("tanh")  # the stretching has become the contract's
    assert np.abs(policy.act(obs) - np.asarray(model(obs))).max() <= TOLERANCE
    narrow = ImportOptions(action_space=Action("box", 2, (-1.0, -1.0), (1.0, 1.0)))
    clipped = assert_equal_to_keras(tmp_path / "policy.keras", narrow)
    assert np.abs(clipped.act(obs) - np.clip(np.asarray(model(obs)), -1, 1)).max() <= TOLERANCE


def test_of_two_outputs_the_one_that_fits_the_action_space_is_the_policy(
    keras: Any, tmp_path: Path
) -> None:
    L = keras.layers
    x = L.Input((5,))
    h = L.Dense(6, "relu")(x)
    shake(keras.Model(x, [L.Dense(1, name="value")(h), L.Dense(3, name="logits")(h)])).save(
        tmp_path / "policy.keras"
    )
    with pytest.raises(InputError, match=r"what its 3 outputs mean\. Say it: --env ID"):
        ask_keras(tmp_path / "policy.keras", ImportOptions())
    policy = assert_equal_to_keras(
        tmp_path / "policy.keras", ImportOptions(action_space=Action("discrete", 3))
    )
    assert [node.name for node in policy.nodes][-1] == "logits"
    assert "value" not in [node.name for node in policy.nodes]


def refused(keras: Any) -> dict[str, tuple[Any, str]]:
    L = keras.layers
    return {
        "dilation": (
            [L.Input(IMAGE), L.Conv2D(2, 3, dilation_rate=2, name="c")],
            r"layer 'c' \(Conv2D\) has dilation_rate \[2, 2\]",
        ),
        "groups": (
            [L.Input((8, 8, 4)), L.Conv2D(4, 3, groups=2, name="c")],
            r"layer 'c' \(Conv2D\) has 2 groups",
        ),
        "multiplier": (
            [L.Input(IMAGE), L.DepthwiseConv2D(3, depth_multiplier=2, name="d")],
            r"has depth_multiplier 2",
        ),
        "pooling": (
            [L.Input(IMAGE), L.GlobalMaxPooling2D(name="m")],
            r"layer 'm' \(GlobalMaxPooling2D\)",
        ),
        "same pooling": (
            [L.Input(IMAGE), L.AveragePooling2D(2, padding="same", name="m"), L.Flatten()],
            r"layer 'm'.*pads",
        ),
        "recurrent": ([L.Input((4, 5)), L.LSTM(3, name="memory")], r"layer 'memory' \(LSTM\)"),
        "sequence": (
            [L.Input((6, 4, 5)), L.Dense(3, name="a"), L.Flatten()],
            r"layer 'a' \(Dense\) is applied to shape \(6, 4, 5\)",
        ),
        "half": (
            [L.Input((5,)), L.Dense(3, dtype="float16", name="a")],
            r"layer 'a' \(Dense\) computes in float16",
        ),
    }


@pytest.mark.parametrize(
    "case",
    [
        "dilation",
        "groups",
        "multiplier",
        "pooling",
        "same pooling",
        "recurrent",
        "sequence",
        "half",
    ],
)
def test_what_cannot_be_carried_over_is_refused_by_name_and_place(
    keras: Any, tmp_path: Path, case: str
) -> None:
    layers, message = refused(keras)[case]
    keras.Sequential(layers).save(tmp_path / "policy.keras")
    with pytest.raises(UnsupportedError, match=message):
        read_keras(tmp_path / "policy.keras", ImportOptions())


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_is_code_and_never_run(
    keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    flag, path = tmp_path / "ran", tmp_path / f"policy{suffix}"
    monkeypatch.setenv("FLAG_FILE", str(flag))
    L = keras.layers
    evil = L.Lambda(
        lambda x: (open(__import__("os").environ["FLAG_FILE"], "w").close(), x)[1],  # noqa: PTH123
        output_shape=(5,),
        name="evil",
    )
    keras.Sequential([L.Input((5,)), evil]).save(path)
    if suffix == ".keras":  # the file is dangerous indeed
        keras.saving.load_model(path, safe_mode=False)(np.zeros((1, 5), np.float32))
        assert flag.exists()
    flag.unlink(missing_ok=True)
    with pytest.raises(UntrustedFileError, match=r"layer 'evil' \(Lambda\) is Python code"):
        read_keras(path, ImportOptions())
    assert not flag.exists()


def test_the_proof_hands_no_description_with_foreign_parts_to_keras(
    keras: Any, tmp_path: Path
) -> None:
    path = tmp_path / "policy.keras"
    shake(mlp(keras)).save(path)
    policy = read_keras(path, ImportOptions())
    for entry in (
        {"module": "os", "class_name": "system", "config": {}},
        {"module": "keras.utils", "class_name": "get_file", "config": {}},
    ):
        edit(
            path,
            lambda model, entry=entry: model["config"]["layers"][1]["config"].update(
                kernel_initializer=entry
            ),
        )
        with pytest.raises(ToolMissingError, match="not Keras' own layers"):
            outputs_of_keras(path, policy, observations(policy), options_of(policy))


def edit(path: Path, change: Callable[[Any], Any], weights: bytes | None = None) -> None:
    """Rewrite the description inside a .keras file, or its weights."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    model = json.loads(members["config.json"])
    change(model)
    members["config.json"] = json.dumps(model).encode()
    if weights is not None:
        members["model.weights.h5"] = weights
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.fixture
def saved(keras: Any, tmp_path: Path) -> Path:
    path = tmp_path / "policy.keras"
    shake(
        keras.Sequential(
            [
                keras.layers.Input((5,)),
                keras.layers.Dense(4, "relu", name="a"),
                keras.layers.Dense(3, name="b"),
            ]
        )
    ).save(path)
    return path


def nothing(model: Any) -> None:
    """Change nothing."""


def hdf5_of(path: Path, change: Callable[[Any], None]) -> bytes:
    """Return the weights file inside a .keras after a change with h5py."""
    import h5py

    with zipfile.ZipFile(path) as archive:
        buffer = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(buffer, "r+") as file:
        change(file)
    return buffer.getvalue()


def replace_dataset(**settings: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars"].create_dataset("0", **settings)

    return change


def test_a_dataset_that_claims_more_than_the_file_holds_is_refused_unread(saved: Path) -> None:
    huge = 1 << 34
    edit(saved, lambda m: m["config"]["layers"][0]["config"].update(batch_shape=[None, huge]))
    with pytest.raises(UnsupportedError, match="fixed lengths"):
        read_keras(saved, ImportOptions())
    wide = (1 << 23, 4)  # 128 MiB are claimed, nothing is stored
    edit(
        saved,
        lambda m: m["config"]["layers"][0]["config"].update(batch_shape=[None, wide[0]]),
        hdf5_of(saved, replace_dataset(shape=wide, dtype="f4")),
    )
    with pytest.raises(
        UntrustedFileError, match=r"layers/dense/vars/0 claims 134,217,728 bytes, the file holds 0"
    ):
        read_keras(saved, ImportOptions())
    vast = (1 << 23, 1 << 20)
    edit(
        saved,
        lambda m: m["config"]["layers"][1]["config"].update(units=vast[1]),
        hdf5_of(saved, replace_dataset(shape=vast, dtype="f4")),
    )
    with pytest.raises(UntrustedFileError, match="at most"):
        read_keras(saved, ImportOptions())


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        (
            {"data": np.zeros((4, 5), np.float32)},
            InputError,
            r"has shape \(4, 5\), its layer needs \(5, 4\)",
        ),
        ({"data": np.zeros((5, 4), np.float64)}, UnsupportedError, "holds float64"),
        (
            {"data": np.zeros((5, 4), np.float32), "compression": "gzip"},
            UnsupportedError,
            "stored compressed",
        ),
        (
            {"shape": (5, 4), "dtype": "f4", "external": [("/etc/hostname", 0, 80)]},
            UntrustedFileError,
            "another file",
        ),
        ({"data": np.full((5, 4), np.nan, np.float32)}, InputError, "a: 20 of 20 weights are NaN"),
    ],
    ids=["shape", "float64", "gzip", "external", "nan"],
)
def test_a_strange_dataset_is_refused(
    saved: Path, settings: dict[str, Any], kind: type[Exception], message: str
) -> None:
    edit(saved, nothing, hdf5_of(saved, replace_dataset(**settings)))
    with pytest.raises(kind, match=message):
        read_keras(saved, ImportOptions())


def test_a_group_that_holds_itself_is_refused(saved: Path) -> None:
    def change(file: Any) -> None:
        file["layers/dense/again"] = file["layers"]

    edit(saved, nothing, hdf5_of(saved, change))
    with pytest.raises(InputError, match="deeper than 32"):
        read_keras(saved, ImportOptions())


def test_links_inside_the_weights_are_not_followed(saved: Path) -> None:
    import h5py

    for link in (h5py.SoftLink("/layers/dense_1/vars/0"), h5py.ExternalLink("/etc/hostname", "/x")):

        def change(file: Any, link: Any = link) -> None:
            del file["layers/dense/vars/0"]
            file["layers/dense/vars/0"] = link

        edit(
            saved,
            nothing,
            hdf5_of(saved, change) if link.__class__.__name__ == "SoftLink" else None,
        )
        with pytest.raises(UntrustedFileError, match="a link to somewhere else"):
            read_keras(saved, ImportOptions())


def test_weights_that_belong_to_another_layer_are_noticed(saved: Path) -> None:
    def change(model: Any) -> None:
        model["config"]["layers"][1]["config"]["name"] = "c"

    edit(saved, change)
    with pytest.raises(InputError, match="the weights of layer 'c' belong to 'a'"):
        read_keras(saved, ImportOptions())


def own_class(model: Any) -> None:
    model["config"]["layers"][1].update(module="mine", registered_name="mine>Dense")


def subclass(model: Any) -> None:
    model.update(class_name="Actor", module="mine")


def shapeless(model: Any) -> None:
    del model["config"]["layers"][0]
    model["config"].pop("build_input_shape", None)


def broken(model: Any) -> None:
    model["config"]["layers"][1]["config"]["units"] = {"many": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (own_class, "layer 'a' is of the class 'Dense', whose Python code the file does not hold"),
        (subclass, "the model is of the class 'Actor', whose Python code"),
        (shapeless, "does not say its input's shape"),
        (broken, "description is damaged"),
    ],
)
def test_a_description_that_is_no_plain_model_is_refused(
    saved: Path, change: Callable[[Any], None], message: str
) -> None:
    edit(saved, change)
    with pytest.raises(InputError, match=message):
        read_keras(saved, ImportOptions())


def test_a_description_nested_without_end_is_refused(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = b"[" * 100_000 + b"]" * 100_000
    with zipfile.ZipFile(saved, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match="not JSON"):
        read_keras(saved, ImportOptions())


def test_a_graph_that_runs_in_a_circle_is_refused(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "policy.keras"
    branches(keras).save(path)

    def circle(model: Any) -> None:
        left = next(layer for layer in model["config"]["layers"] if layer["name"] == "left")
        left["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["squash", 0, 0]

    edit(path, circle)
    with pytest.raises(InputError, match="waits for its own output"):
        read_keras(path, ImportOptions())


def attribute_alone() -> bytearray:
    """Return what `with h5py.File(path, "w") as f: f.attrs["model_config"] = "{}"` wrote (h5py
    3.14, HDF5 1.14.6).
    """
    packed = (
        r"""c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvfI)qXAF!=;1%?PDCp!5nRm^d?7P68?}05xBM8N$ziiiZTbx+0s8ZqFzf*}%iqF#tqIK=~X{"""
        r"""`UDfII#@akppw0U(DaI)u6Y<dp!V@HhyY!ao1c=J6Q7))mzJ3h5|?CT1nU%lyNLtEeIR2xm=SJvclP&TWPoZwQwIXowW#j8!9SWN"""
        r"""M!_f;1*2dTjDk@x3P!;w7zLwX6pVtQ1^_B?GW-"""
    )
    return bytearray(zlib.decompress(base64.b85decode(packed)))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (
            857,
            2,
            # the version of an attribute: the HDF5 library reads where nothing is, and its process
            # dies
        ),
        pytest.param(
            928, 0, marks=pytest.mark.slow
        ),  # the size of a global heap's object: the library never comes back
    ],
    ids=["crash", "endless"],
)
def test_a_file_that_breaks_the_hdf5_library_is_refused_like_any_other(
    tmp_path: Path, place: int, value: int
) -> None:
    content = attribute_alone()
    content[place] = value
    (tmp_path / "policy.h5").write_bytes(content)
    with pytest.raises(InputError, match="not a complete HDF5 file"):
        read_keras(tmp_path / "policy.h5", ImportOptions())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_cut_off_is_refused(keras: Any, tmp_path: Path, share: float, suffix: str) -> None:
    path = tmp_path / f"policy{suffix}"
    mlp(keras).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError):
        read_keras(path, ImportOptions())


def test_weights_without_the_model_are_refused(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "policy.weights.h5"
    mlp(keras).save_weights(path)
    with pytest.raises(InputError, match="save the whole model"):
        read_keras(path, ImportOptions())


def test_another_observation_or_action_than_the_environments_is_refused(saved: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"observes a vector of shape \(5,\), --env says a vector "
        r"of shape \(6,\)",
    ):
        read_keras(saved, ImportOptions(observation=Observation((6,), "float32", "vector")))
    with pytest.raises(
        InputError,
        match="has 3 outputs, --env says discrete with 4 choices",
    ):
        read_keras(saved, ImportOptions(action_space=Action("discrete", 4)))


@pytest.mark.long
@pytest.mark.parametrize("name", ["image", "vector"])
def test_a_file_of_keras_2_computes_what_keras_2_computed(tmp_path: Path, name: str) -> None:
    content, golden = keras2_model(name)
    path = tmp_path / "policy.h5"
    path.write_bytes(content)
    policy = read_keras(path, ImportOptions())
    obs = keras2_observations(policy.contract.observation.shape, golden["dtype"])
    assert policy.framework == "keras 2.21.0"
    assert np.abs(policy.outputs(obs) - np.array(golden["outputs"])).max() <= TOLERANCE


def test_triton_is_loaded_before_tensorflow_which_it_would_crash_beside(tmp_path: Path) -> None:
    need("keras", "tensorflow")
    (tmp_path / "triton.py").write_text(
        "import sys\n\ncame_first = 'tensorflow' not in sys.modules\n"
    )
    program = """
import sys
sys.path.insert(0, sys.argv[1])
from quarl import pipeline
from quarl.importers.proofs import prove_import
source = pipeline.import_source("nav_dqn_small")
proof = prove_import(source.file, source.policy)
print(proof.against, "tensorflow" in sys.modules, sys.modules["triton"].came_first)
"""
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("Keras ")
    assert run.stdout.split()[-2:] == ["True", "True"]
