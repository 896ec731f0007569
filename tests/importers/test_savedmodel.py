"""SavedModels written by Keras and by TensorFlow itself, compared with what TensorFlow computes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.graph.contract import Action, Observation
from quarl.graph.policy import Activation, Conv2D, Policy
from quarl.importers import ImportOptions, detect_format
from quarl.importers import read_policy as ask_policy
from quarl.importers.proofs.savedmodel import outputs_of_savedmodel
from quarl.importers.savedmodel import read_savedmodel as ask_savedmodel
from tests.conftest import need
from tests.support.answers import answering, options_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras.*")
read_policy, read_savedmodel = answering(ask_policy), answering(ask_savedmodel)
TOLERANCE = 1e-5
IMAGE = (11, 8, 3)  # not square, three channels: a mistaken order of axes cannot pass


@pytest.fixture(scope="module")
def tf() -> Any:
    need("tensorflow", "keras")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow

    return tensorflow


@pytest.fixture(scope="module")
def keras(tf: Any) -> Any:
    import keras

    keras.utils.set_random_seed(7)
    return keras


def shake(model: Any) -> Any:
    """Give every variable a value of its own, so that no bias is zero and no batch statistic is
    one.
    """
    rng = np.random.default_rng(3)
    for variable in model.variables:
        if "float32" in str(variable.dtype):
            low = 0.5 if "variance" in variable.name else -0.5
            variable.assign(rng.uniform(low, low + 1, tuple(variable.shape)).astype(np.float32))
    return model


def assert_equal_to_tensorflow(path: Path, options: ImportOptions | None = None) -> Policy:
    """Import the folder and compare it with TensorFlow; return the policy."""
    policy = read_policy(path, options or ImportOptions())
    rng, shape = np.random.default_rng(5), policy.contract.observation.shape
    image = policy.contract.observation.is_image
    obs: NDArray[Any] = (
        rng.integers(0, 256, (16, *shape), np.uint8)
        if image
        else rng.normal(0, 2, (16, *shape)).astype(np.float32)
    )
    reference, against = outputs_of_savedmodel(path, policy, obs, options_of(policy))
    assert against.startswith("TensorFlow 2.")
    assert reference.std() > 1e-2  # a network that says nothing would agree with anything
    assert np.abs(policy.outputs(obs) - reference).max() <= TOLERANCE * max(
        1, np.abs(reference).max()
    )
    return policy


def keras_cnn(keras: Any) -> Any:
    L = keras.layers
    return keras.Sequential(
        [
            L.Input(IMAGE, dtype="uint8"),
            L.Rescaling(1 / 255),
            L.Conv2D(4, (3, 2), strides=(2, 1), padding="same", activation="relu"),
            L.BatchNormalization(),
            L.DepthwiseConv2D((2, 3)),
            L.ReLU(max_value=6),
            L.AveragePooling2D(2),
            L.Flatten(),
            L.Dense(6, activation="elu"),
            L.Dense(4),
        ]
    )


def keras_mlp(keras: Any) -> Any:
    L = keras.layers
    x = L.Input((5,))
    left, right = L.Dense(4, activation="tanh")(x), L.Dense(4, activation="sigmoid")(x)
    joined = L.Concatenate()([left, right, L.Add()([left, right])])
    return keras.Model(x, L.Dense(3, activation="softmax")(L.BatchNormalization()(joined)))


@pytest.mark.parametrize("make", [keras_cnn, keras_mlp], ids=["cnn", "mlp"])
def test_an_export_of_keras_computes_what_tensorflow_computes(
    keras: Any, tmp_path: Path, make: Callable[[Any], Any]
) -> None:
    path = tmp_path / "policy"
    model = shake(make(keras))
    model.export(path, verbose=False)
    policy = assert_equal_to_tensorflow(path)
    assert detect_format(path) == "savedmodel"
    assert policy.framework.startswith("tensorflow 2.")
    assert policy.contract.action == Action("discrete", model.output_shape[1])
    obs = (
        np.random.default_rng(1)
        .integers(0, 256, (8, *policy.contract.observation.shape))
        .astype(policy.contract.observation.dtype)
    )
    assert (policy.act(obs) == np.asarray(model(obs)).argmax(axis=1)).all()


def save_function(
    tf: Any, path: Path, function: Callable[..., Any], shape: tuple[int, ...], variables: list[Any]
) -> Path:
    """Save a function of one float input as the default signature."""
    module = tf.Module()
    module.kept = variables
    traced = tf.function(
        function, input_signature=[tf.TensorSpec((None, *shape), tf.float32, "obs")]
    )
    tf.saved_model.save(module, str(path), signatures=traced)
    return path


def test_a_graph_of_tensorflow_operators_is_read(tf: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)

    def variable(*shape: int, low: float = -0.5) -> Any:
        return tf.Variable(rng.uniform(low, low + 1, shape).astype(np.float32))

    kernel, gamma, beta, mean, var = (
        variable(3, 2, 3, 4),
        variable(4),
        variable(4),
        variable(4),
        variable(4, low=0.5),
    )
    first, second = variable(4, 6), variable(3, 6)

    @tf.function
    def inner(h: Any) -> Any:
        return tf.nn.relu(tf.nn.bias_add(tf.matmul(h, first), beta_of_six))

    beta_of_six = variable(6)

    def policy(obs: Any) -> Any:
        h = tf.nn.conv2d(obs / 255.0 - 0.5, kernel, [1, 2, 1, 1], [[0, 0], [1, 0], [0, 1], [0, 0]])
        h, _, _ = tf.compat.v1.nn.fused_batch_norm(
            h, gamma, beta, mean, var, epsilon=1e-3, is_training=False
        )
        h = tf.reduce_mean(tf.clip_by_value(h, 0.0, 6.0), axis=[1, 2])
        return tf.matmul(inner(tf.maximum(0.5, 2.0) * h), second, transpose_b=True)

    path = save_function(
        tf,
        tmp_path / "policy",
        policy,
        IMAGE,
        [kernel, gamma, beta, mean, var, first, second, beta_of_six],
    )
    policy_read = assert_equal_to_tensorflow(path)
    assert policy_read.contract.observation == Observation(IMAGE, "uint8", "hwc")
    assert any(isinstance(node.op, Conv2D) for node in policy_read.nodes)
    assert Activation("relu6") in [node.op for node in policy_read.nodes]


def refused(tf: Any) -> dict[str, tuple[Callable[[Any], Any], str]]:
    return {
        "Lgamma": (
            lambda x: tf.math.lgamma(x @ tf.ones((5, 3))),
            r"Lgamma \(node 'Lgamma'\) is not among the operators",
        ),
        "file": (
            lambda x: x @ tf.ones((5, 3)) + tf.strings.to_number(tf.io.read_file("/etc/hostname")),
            r"StringToNumber \(node",
        ),
        "axis": (
            lambda x: tf.reduce_sum(x[:, tf.newaxis, 1:], axis=1) @ tf.ones((4, 3)),
            r"StridedSlice \(node '\w+'\) adds axes",
        ),
        "loop": (
            lambda x: tf.while_loop(lambda y: tf.reduce_sum(y) < 1, lambda y: (y + 1,), (x,))[0],
            "While",
        ),
    }


@pytest.mark.parametrize("case", ["Lgamma", "file", "axis", "loop"])
def test_what_cannot_be_carried_over_is_refused_by_operator_and_node(
    tf: Any, tmp_path: Path, case: str
) -> None:
    function, message = refused(tf)[case]
    path = save_function(tf, tmp_path / "policy", function, (5,), [])
    with pytest.raises(UnsupportedError, match=message):
        read_savedmodel(path, ImportOptions())


def test_several_inputs_are_one_vector_in_the_order_of_their_names(tf: Any, tmp_path: Path) -> None:
    specs = [
        tf.TensorSpec((None, 5), tf.float32, "obs"),
        tf.TensorSpec((None, 5), tf.float32, "goal"),
    ]
    traced = tf.function(lambda obs, goal: 3 * obs - goal, input_signature=specs)
    tf.saved_model.save(tf.Module(), str(tmp_path / "policy"), signatures=traced)
    policy = read_savedmodel(tmp_path / "policy", ImportOptions())
    assert policy.contract.observation.shape == (10,)
    seen = np.arange(20, dtype=np.float32).reshape(2, 10)
    np.testing.assert_allclose(policy.outputs(seen), 3 * seen[:, 5:] - seen[:, :5], rtol=1e-6)


def test_signatures_of_other_names_are_listed(tf: Any, tmp_path: Path) -> None:
    traced = tf.function(
        lambda obs: obs @ tf.ones((5, 3)), input_signature=[tf.TensorSpec((None, 5), tf.float32)]
    )
    module = tf.Module()
    tf.saved_model.save(module, str(tmp_path / "one"), signatures={"act": traced})
    assert read_savedmodel(tmp_path / "one", ImportOptions()).contract.action.count == 3
    tf.saved_model.save(module, str(tmp_path / "two"), signatures={"act": traced, "value": traced})
    with pytest.raises(
        UnsupportedError,
        match="has the signatures act, value, one called serving_default is needed",
    ):
        read_savedmodel(tmp_path / "two", ImportOptions())


@pytest.fixture
def exported(keras: Any, tmp_path: Path) -> Path:
    path = tmp_path / "policy"
    shake(
        keras.Sequential(
            [keras.layers.Input((5,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(3)]
        )
    ).export(path, verbose=False)
    return path


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Rewrite the graph of a SavedModel."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel()
    saved.ParseFromString((path / "saved_model.pb").read_bytes())
    change(saved.meta_graphs[0])
    (path / "saved_model.pb").write_bytes(saved.SerializeToString())


def find(meta: Any, op: str) -> Any:
    """Return the first node of that operator inside the functions."""
    return next(
        node
        for function in meta.graph_def.library.function
        for node in function.node_def
        if node.op == op
    )


def inner_call(meta: Any) -> None:
    for function in meta.graph_def.library.function:
        for node in function.node_def:
            if node.op == "StatefulPartitionedCall":
                node.attr["f"].func.name = function.signature.name


def huge_constant(meta: Any) -> None:
    node = find(meta, "MatMul")
    node.op = "Const"
    del node.input[:]
    node.attr["value"].tensor.dtype = 1
    node.attr["value"].tensor.float_val.append(1)
    for _ in range(2):
        node.attr["value"].tensor.tensor_shape.dim.add(size=1 << 30)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (inner_call, UntrustedFileError, "calls itself"),
        (
            huge_constant,
            UntrustedFileError,
            r"claims a constant of shape \[1073741824, 1073741824\]",
        ),
        (
            lambda meta: meta.ClearField("object_graph_def"),
            UnsupportedError,
            "no functions of TensorFlow 2",
        ),
        (
            lambda meta: meta.graph_def.library.ClearField("function"),
            UnsupportedError,
            "no functions of TensorFlow 2",
        ),
        (
            lambda meta: find(meta, "MatMul").input.__setitem__(0, "nowhere:product:0"),
            InputError,
            "reads 'nowhere', which is not there",
        ),
    ],
    ids=["recursion", "constant", "no objects", "no functions", "dangling"],
)
def test_a_graph_that_lies_is_refused(
    exported: Path, change: Callable[[Any], None], kind: type[Exception], message: str
) -> None:
    edit(exported, change)
    with pytest.raises(kind, match=message):
        read_savedmodel(exported, ImportOptions())


@pytest.mark.parametrize(
    "name",
    ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"],
)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_folder_cut_off_is_refused(exported: Path, name: str, share: float) -> None:
    content = (exported / name).read_bytes()
    (exported / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError):
        read_savedmodel(exported, ImportOptions())


def test_a_folder_without_its_variables_is_refused(exported: Path) -> None:
    for file in (exported / "variables").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="not a complete SavedModel"):
        read_savedmodel(exported, ImportOptions())
