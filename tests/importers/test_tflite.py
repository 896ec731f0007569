"""int8 `.tflite` files of others give, integer for integer, what LiteRT makes of them; what cannot
be had exactly is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from quarl.boards.core import Fpu
from quarl.emitters import emit_onnx, emit_tflite
from quarl.emitters import tflite_layers as layers
from quarl.emitters.tflite import native_tables
from quarl.emitters.tflite_layers import OPS, Value
from quarl.errors import InputError, QuarlError, UnsupportedError, UntrustedFileError
from quarl.graph.contract import Action, Contract, Normalizer, Observation
from quarl.graph.litert_ops import QuantAdd, QuantAveragePool2D, QuantMean
from quarl.graph.ops import Columns
from quarl.graph.policy import Add, Concat, Flatten, MaxPool2D, Policy
from quarl.graph.quant_policy import (
    QuantConv2D,
    QuantDense,
    QuantDepthwiseConv2D,
    QuantPolicy,
    QuantTable,
    QuantTensor,
)
from quarl.graph.reference import act, integer_outputs
from quarl.importers import ImportOptions
from quarl.importers import read_policy as ask_policy
from quarl.importers.proofs import ImportProof, NotProven, prove_import, prove_integers
from quarl.importers.tflite import read_network
from quarl.importers.tflite import read_tflite as ask_tflite
from quarl.importers.tflite.file import read_graph
from quarl.profiles.emulated import profile_unicorn
from quarl.resources import default_cache_dir
from quarl.runtimes.host import LitertRuntime, NumpyRuntime, OnnxRuntime
from tests.conftest import need
from tests.profiles.test_firmware_numbers import M0, M4, board_with
from tests.support.answers import answering
from tests.support.random_policies import CASES, random_policy
from tests.support.tflite_models import (
    HandMade,
    convert,
    edited,
    keras_and_tensorflow,
    packed,
    shaken,
    write,
)
from tests.support.workloads import workload_for

read_policy, read_tflite = answering(ask_policy), answering(ask_tflite)
IMAGE = (12, 10, 2)
PIXELS = QuantTensor(np.float32(1 / 255), -128)
INPUT_TENSOR = QuantTensor(np.float32(0.05), 3)
HIDDEN = QuantTensor(np.float32(0.08), -20)
HEAD = QuantTensor(np.float32(0.1), 5)
BOX = Action("box", 4, (-2.0,) * 4, (2.0,) * 4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What TFLiteConverter makes of small Keras models, by name."""
    keras, _ = keras_and_tensorflow()
    L = keras.layers
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 2, (40, 6)).astype(np.float32)
    frames = rng.integers(0, 256, (40, *IMAGE)).astype(np.float32) / np.float32(255)
    mlp = shaken(
        keras.Sequential(
            [
                L.Input((6,)),
                L.Dense(48, "tanh"),
                L.Dense(48, "relu"),
                L.Dense(32, "relu6"),
                L.Dense(16, "sigmoid"),
                L.Dense(4),
            ]
        )
    )
    cnn = shaken(
        keras.Sequential(
            [
                L.Input(IMAGE),
                L.Conv2D(8, (4, 3), strides=2, padding="same", activation="relu"),
                L.DepthwiseConv2D(3, activation="relu6"),
                L.ZeroPadding2D(((1, 2), (0, 1))),
                L.Conv2D(6, 3, activation="relu"),
                L.Flatten(),
                L.Dense(16, "relu"),
                L.Dense(5, "softmax"),
            ]
        )
    )
    x = L.Input((6,))
    left, right = L.Dense(8, "relu")(x), L.Dense(8, "relu")(x)
    joined = keras.Model(x, L.Dense(4, "tanh")(L.Dense(16, "relu")(L.Concatenate()([left, right]))))
    wide = keras.Sequential([L.Input((64,)), L.Dense(64, "relu"), L.Dense(64)])
    files = {
        "mlp": convert(mlp, vectors),
        "mlp_float_ends": convert(mlp, vectors, None),
        "cnn": convert(cnn, frames),
        "cnn_uint8_ends": convert(cnn, frames, "uint8"),
        "cnn_float_ends": convert(cnn, frames, None),
        "cnn_other_pixels": convert(cnn, frames * np.float32(0.7)),
        "joined": convert(shaken(joined), vectors),
        "float": convert(mlp, None, kind="FLOAT"),
        "dynamic": convert(wide, None),
        "int16": convert(mlp, vectors, "int16", kind="INT16"),
    }
    folder = tmp_path_factory.mktemp("converted")
    return {name: write(folder / f"{name}.tflite", content) for name, content in files.items()}


@pytest.fixture(scope="module")
def pooling(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What TFLiteConverter makes of networks with pooling, means, sums and branches, by name."""
    keras, _ = keras_and_tensorflow()
    L = keras.layers
    frames = np.random.default_rng(0).integers(0, 256, (40, *IMAGE)).astype(
        np.float32
    ) / np.float32(255)
    max_layers = [
        L.MaxPooling2D(2),
        L.Conv2D(5, 3),
        L.MaxPooling2D(3, strides=1, padding="same"),
        L.ReLU(),
        L.Flatten(),
        L.Dense(4),
    ]
    average_layers = [
        L.AveragePooling2D(2),
        L.Conv2D(5, 3, activation="relu6"),
        L.AveragePooling2D(3, strides=2, padding="same"),
    ]
    mean_layers = [
        L.GlobalAveragePooling2D(keepdims=True),
        L.Conv2D(8, 1, activation="relu"),
        L.Flatten(),
        L.Dense(4),
    ]
    x = L.Input(IMAGE)
    first = L.Conv2D(6, 3, padding="same", activation="relu")(x)
    summed = L.ReLU()(L.Add()([first, L.Conv2D(6, 3, padding="same")(first)]))
    residual = keras.Model(x, L.Dense(4, "softmax")(L.GlobalAveragePooling2D()(summed)))
    joined = L.Concatenate()(
        [L.Conv2D(4, 1, activation="tanh")(x), L.Conv2D(4, 1, activation="sigmoid")(x)]
    )
    models = {
        "max": keras.Sequential([L.Input(IMAGE), L.Conv2D(6, 3, activation="relu"), *max_layers]),
        "average": keras.Sequential(
            [L.Input(IMAGE), L.Conv2D(6, 3), *average_layers, L.Flatten(), L.Dense(4)]
        ),
        "mean": keras.Sequential([L.Input(IMAGE), L.Conv2D(6, 3), *mean_layers]),
        "residual": residual,
        "two_scales": keras.Model(
            x, L.Dense(4)(L.Flatten()(joined))
        ),  # the converter rescales one branch
    }
    folder = tmp_path_factory.mktemp("pooling")
    return {
        name: write(folder / f"{name}.tflite", convert(shaken(model), frames))
        for name, model in models.items()
    }


def box_of(policy: str) -> ImportOptions:
    return ImportOptions(action_space=BOX) if policy == "joined" else ImportOptions()


def assert_equal_to_litert(
    path: Path, options: ImportOptions | None = None, outputs: int = 2_000
) -> QuantPolicy:
    policy = read_tflite(path, options or ImportOptions())
    proof = prove_integers(path, policy, -(-outputs // policy.contract.action.count))
    assert isinstance(proof, ImportProof), proof
    assert proof.max_abs_error == 0
    assert proof.against.startswith("LiteRT 2.")
    return policy


@pytest.mark.parametrize(
    "name", ["mlp", "mlp_float_ends", "cnn", "cnn_uint8_ends", "cnn_float_ends", "joined"]
)
def test_ten_thousand_outputs_of_a_converted_model_are_those_of_litert(
    made: dict[str, Path], name: str
) -> None:
    policy = assert_equal_to_litert(made[name], box_of(name), 10_000)
    rng = np.random.default_rng(1)
    shape = (200, *policy.contract.observation.shape)
    obs = (
        rng.integers(0, 256, shape, np.uint8)
        if policy.contract.observation.is_image
        else rng.normal(0, 2, shape)
    )
    assert np.unique(integer_outputs(policy, obs)).size > 30, (
        "a policy that says the same everywhere proves nothing"
    )


def test_a_file_run_by_the_plain_interpreter_answers_as_the_policy_does(
    made: dict[str, Path],
) -> None:
    from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]

    obs = np.random.default_rng(4).normal(0, 2, (300, 6)).astype(np.float32)
    policy = read_tflite(made["mlp_float_ends"], ImportOptions())
    interpreter = Interpreter(model_path=str(made["mlp_float_ends"]), num_threads=1)
    interpreter.allocate_tensors()
    found = []
    for row in obs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    assert policy.nodes[-1].output is not None
    np.testing.assert_array_equal(
        policy.nodes[-1].output.dequantize(integer_outputs(policy, obs)), np.array(found)
    )
    np.testing.assert_array_equal(act(policy, obs), np.array(found).argmax(axis=1))


def test_the_graph_and_the_contract_of_a_converted_network_are_read(made: dict[str, Path]) -> None:
    policy = read_tflite(made["cnn"], ImportOptions())
    kinds = [type(node.op) for node in policy.nodes]
    assert kinds == [
        QuantConv2D,
        QuantDepthwiseConv2D,
        QuantConv2D,
        Flatten,
        QuantDense,
        QuantDense,
    ]
    assert isinstance(policy.nodes[2].op, QuantConv2D)
    assert policy.nodes[2].op.padding == ((1, 2), (0, 1))  # the PAD before it
    assert policy.contract.observation == Observation(IMAGE, "uint8", "hwc")
    assert policy.contract.action == Action("discrete", 5)
    assert policy.rung is None
    proof = prove_integers(made["cnn"], policy, 4)
    assert isinstance(proof, ImportProof)
    assert proof.against.endswith("(before its SOFTMAX)")


def test_an_environment_that_moves_channels_first_is_kept(made: dict[str, Path]) -> None:
    chw = Observation((2, 12, 10), "uint8", "chw")
    assert read_tflite(made["cnn"], ImportOptions(observation=chw)).contract.observation == chw


def test_a_tanh_at_the_end_needs_bounds_and_spreads_over_them(made: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"ends in tanh.*what its 4 outputs mean.*--env ID"):
        ask_policy(made["joined"])
    with pytest.raises(InputError, match=r"ends in a linear layer.*what its 4 outputs mean"):
        ask_policy(made["mlp"])
    policy = read_tflite(made["joined"], box_of("joined"))
    assert policy.contract.action == replace(BOX, transform="unscale")
    assert [type(node.op) for node in policy.nodes][2] is Concat


def test_a_float_file_gives_the_float_policy_that_litert_computes(made: dict[str, Path]) -> None:
    policy = read_policy(made["float"])
    assert isinstance(policy, Policy)
    proof = prove_import(made["float"], policy)
    assert isinstance(proof, ImportProof), proof
    assert proof.holds
    assert proof.against.startswith("LiteRT 2.")


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("dynamic", "wide", r"activations to 8 bits"),
        ("int16", "mlp", r"activations to 16 bits"),
    ],
)
def test_integer_weights_alone_give_the_floats_they_mean(
    made: dict[str, Path], name: str, source: str, words: str
) -> None:
    policy = read_policy(made[name])
    assert isinstance(policy, Policy)
    proof = prove_import(made[name], policy)  # LiteRT rounds what the policy does not
    assert isinstance(proof, NotProven), proof
    assert re.search(words, proof.reason)
    exact = read_policy(made["float"]) if source == "mlp" else None
    if exact is not None:
        obs = np.random.default_rng(2).normal(0, 2, (64, 6)).astype(np.float32)
        wanted = exact.outputs(obs)
        assert np.abs(policy.outputs(obs) - wanted).max() < 0.05 * np.abs(wanted).max()


def test_bytes_that_are_no_pixels_say_what_they_stand_for(made: dict[str, Path]) -> None:
    policy = assert_equal_to_litert(made["cnn_other_pixels"])
    observation = policy.contract.observation
    assert observation.pixel_scale == pytest.approx(0.7 / 255, rel=0.01)
    assert observation.pixel_zero == 0
    assert any("a byte p stands for" in line for line in policy.contract.stated)
    assert Contract.from_json(policy.contract.to_json()) == policy.contract


def test_spectra_of_any_zero_point_are_read(tmp_path: Path) -> None:
    tensor = QuantTensor(np.float32(0.58), 83)

    def build(f: HandMade, x: Value) -> Value:
        return f.dense(
            layers.reshape(f, x, f.value((60,), tensor)), 4, QuantTensor(np.float32(20), 0)
        )

    policy = assert_equal_to_litert(by_hand(tmp_path / "f.tflite", build, (10, 6, 1), tensor))
    assert policy.contract.observation.pixel_zero == 211


def test_an_action_space_that_does_not_fit_is_refused(made: dict[str, Path]) -> None:
    with pytest.raises(
        InputError,
        match="has 5 outputs and ends in SOFTMAX, --env says a box of 5 values",
    ):
        read_tflite(
            made["cnn"],
            ImportOptions(action_space=replace(BOX, count=5, low=(0.0,) * 5, high=(1.0,) * 5)),
        )
    with pytest.raises(InputError, match="discrete with 3 choices"):
        read_tflite(made["mlp"], ImportOptions(action_space=Action("discrete", 3)))
    with pytest.raises(InputError, match=r"observes a vector of shape \(6,\)"):
        read_tflite(made["mlp"], ImportOptions(observation=Observation((4,), "float32", "vector")))


@pytest.mark.parametrize("case", CASES)
def test_a_file_of_ours_gives_its_integers_back(case: str, tmp_path: Path) -> None:
    policy = random_policy(case, np.random.default_rng(5))
    path = write(tmp_path / "ours.tflite", emit_tflite(policy))
    tables = {node.name for node in policy.nodes if isinstance(node.op, QuantTable)}
    is_wide = (
        any(node.output is None or not node.output.is_int8 for node in policy.nodes)
        or not policy.observation.tensor.is_int8
    )
    has_parts = any(isinstance(node.op, Columns) for node in policy.nodes)
    # floats, gathers and slices of one input, which only a bundle explains
    if is_wide or has_parts or tables - native_tables(policy):
        with pytest.raises(QuarlError):
            read_network(path, read_graph(path), ImportOptions())
        return
    found = read_network(path, read_graph(path), ImportOptions())
    assert found.tensor == policy.observation.tensor
    assert [node.output for node in found.nodes] == [node.output for node in policy.nodes]
    names = {
        "observation": "observation",
        **{a.name: b.name for a, b in zip(found.nodes, policy.nodes, strict=True)},
    }
    for node, ours in zip(found.nodes, policy.nodes, strict=True):
        assert tuple(names[name] for name in node.inputs) == ours.inputs
        assert type(node.op) is type(ours.op)
        if isinstance(ours.op, QuantDense | QuantConv2D | QuantDepthwiseConv2D):
            assert isinstance(node.op, QuantDense | QuantConv2D | QuantDepthwiseConv2D)
            for field in ("weights", "bias", "multiplier", "weight_scale"):
                np.testing.assert_array_equal(getattr(node.op, field), getattr(ours.op, field))
        if isinstance(ours.op, QuantConv2D | QuantDepthwiseConv2D):
            assert isinstance(node.op, QuantConv2D | QuantDepthwiseConv2D)
            assert (node.op.stride, node.op.padding) == (ours.op.stride, ours.op.padding)
        if isinstance(ours.op, QuantTable):
            assert isinstance(node.op, QuantTable)
            np.testing.assert_array_equal(node.op.table, ours.op.table)


def test_a_vector_file_of_ours_is_refused_since_its_observation_scales_are_in_the_bundle(
    tmp_path: Path,
) -> None:
    policy = random_policy(
        next(name for name in CASES if len(CASES[name][0]) == 1), np.random.default_rng(5)
    )
    with pytest.raises(InputError, match="was written by quarl"):
        read_policy(write(tmp_path / "ours.tflite", emit_tflite(policy)))


Build = Callable[[HandMade, Value], Value]


def by_hand(
    path: Path, build: Build, shape: tuple[int, ...] = (8,), tensor: QuantTensor = INPUT_TENSOR
) -> Path:
    file = HandMade()
    x = file.value(shape, tensor)
    return file.write(path, x, build(file, x).index)


@pytest.mark.long
@pytest.mark.parametrize("fused", ["NONE", "RELU", "RELU6"])
def test_fused_activations_clamp_where_litert_does(tmp_path: Path, fused: str) -> None:
    # 6 / 2.4 is half way between two integers: the side it falls on depends on the zero point
    for scale, zero_point in ((0.08, -20), (2.4, -3), (2.4, -2), (4.0, 1), (0.05, -128)):
        hidden = QuantTensor(np.float32(scale), zero_point)
        policy = assert_equal_to_litert(
            by_hand(
                tmp_path / "f.tflite",
                lambda f, x, h=hidden: f.dense(f.dense(x, 16, h, fused), 4, HEAD),
            )  # type: ignore[misc]
        )
        assert policy.nodes[0].output is not None
        assert policy.nodes[0].output.qmin == (-128 if fused == "NONE" else zero_point)


@pytest.mark.parametrize("name", ["RELU", "RELU6", "TANH", "LOGISTIC", "ELU"])
@pytest.mark.parametrize(
    "target", [HIDDEN, QuantTensor(np.float32(0.03), -100), QuantTensor(np.float32(1 / 128), 0)]
)
def test_activations_of_their_own_give_litert_s_256_entries(
    tmp_path: Path, name: str, target: QuantTensor
) -> None:
    version = 1 if name == "ELU" else 2

    def build(f: HandMade, x: Value) -> Value:
        return f.dense(f.apply(name, f.dense(x, 16, HIDDEN), target, version), 4, HEAD)

    policy = assert_equal_to_litert(by_hand(tmp_path / "f.tflite", build))
    is_clamp = name.startswith("RELU") and target == HIDDEN
    assert [type(node.op) for node in policy.nodes] == [
        QuantDense,
        *([] if is_clamp else [QuantTable]),
        QuantDense,
    ]


def test_a_clamp_that_another_layer_must_not_see_becomes_a_table(tmp_path: Path) -> None:
    def build(f: HandMade, x: Value) -> Value:
        hidden = f.dense(x, 16, HIDDEN)
        joined = layers.concat(f, [hidden, f.apply("RELU", hidden, HIDDEN)], f.value((32,), HIDDEN))
        return f.dense(joined, 4, HEAD)

    policy = assert_equal_to_litert(by_hand(tmp_path / "f.tflite", build))
    assert [type(node.op) for node in policy.nodes] == [QuantDense, QuantTable, Concat, QuantDense]


@pytest.mark.long
@pytest.mark.parametrize("fused", ["NONE", "RELU", "RELU6"])
def test_sums_are_those_of_litert_whatever_their_scales(tmp_path: Path, fused: str) -> None:
    def build(f: HandMade, x: Value, second: QuantTensor = HIDDEN) -> Value:
        return f.dense(
            f.add(f.dense(x, 16, HIDDEN), f.dense(x, 16, second), HIDDEN, fused), 4, HEAD
        )

    policy = assert_equal_to_litert(by_hand(tmp_path / "f.tflite", build))
    assert isinstance(policy.nodes[2].op, Add)
    for scale, zero_point in ((0.07, -20), (0.08, 3), (0.3, 100), (0.0011, -128)):
        path = by_hand(
            tmp_path / "g.tflite",
            lambda f, x, s=scale, z=zero_point: build(f, x, QuantTensor(np.float32(s), z)),
        )  # type: ignore[misc]
        assert isinstance(assert_equal_to_litert(path).nodes[2].op, QuantAdd)
    far = by_hand(
        tmp_path / "h.tflite", lambda f, x: build(f, x, QuantTensor(np.float32(0.08 * 300), 0))
    )
    with pytest.raises(
        UnsupportedError, match=r"operator 2 \(ADD\) adds tensors of scales .* too far apart"
    ):
        read_policy(far)


def pool(
    f: HandMade,
    name: str,
    x: Value,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: str,
    fused: str = "NONE",
) -> Value:
    assert x.tensor is not None
    options = schema.Pool2DOptionsT()
    options.padding = getattr(schema.Padding, padding)
    options.strideH, options.strideW = stride
    options.filterHeight, options.filterWidth = kernel
    options.fusedActivationFunction = getattr(schema.ActivationFunctionType, fused)
    sizes = [x.shape[a] if padding == "SAME" else x.shape[a] - kernel[a] + 1 for a in (0, 1)]
    rows, cols = (-(-size // step) for size, step in zip(sizes, stride, strict=True))
    y = f.value((rows, cols, x.shape[2]), x.tensor)
    f.operator(getattr(OPS, name), 2, [x.index], y.index, options)
    return y


@pytest.mark.parametrize("name", ["MAX_POOL_2D", "AVERAGE_POOL_2D"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("kernel", "stride", "fused"),
    [((2, 2), (2, 2), "NONE"), ((3, 2), (2, 1), "RELU"), ((4, 5), (3, 2), "RELU6")],
)
def test_poolings_round_and_pad_as_litert_does(
    tmp_path: Path,
    name: str,
    padding: str,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    fused: str,
) -> None:
    def build(f: HandMade, x: Value) -> Value:
        y = f.conv(x, f.value((7, 9, 5), HIDDEN), (3, 3), (1, 1), "VALID", depthwise=False)
        z = pool(f, name, y, kernel, stride, padding, fused)
        return f.dense(layers.reshape(f, z, f.value((int(np.prod(z.shape)),), HIDDEN)), 8, HEAD)

    policy = assert_equal_to_litert(
        by_hand(tmp_path / "f.tflite", build, (9, 11, 3), PIXELS), outputs=1_600
    )
    assert isinstance(
        policy.nodes[1].op, MaxPool2D if name == "MAX_POOL_2D" else QuantAveragePool2D
    )


def test_a_pooling_window_larger_than_its_image_is_refused_before_it_costs_anything(
    tmp_path: Path,
) -> None:
    def build(f: HandMade, x: Value) -> Value:
        y = f.conv(x, f.value((7, 9, 5), HIDDEN), (3, 3), (1, 1), "VALID", depthwise=False)
        z = pool(f, "MAX_POOL_2D", y, (1 << 20, 2), (1, 1), "SAME")
        return f.dense(layers.reshape(f, z, f.value((7 * 9 * 5,), HIDDEN)), 8, HEAD)

    with pytest.raises(
        UnsupportedError,
        match=r"operator 1 \(MAX_POOL_2D\) pools windows of \(1048576, 2\) on shape \(7, 9, 5\)",
    ):
        read_policy(by_hand(tmp_path / "f.tflite", build, (9, 11, 3), PIXELS))


@pytest.mark.parametrize("keeps_axes", [False, True])
@pytest.mark.parametrize(
    "target", [HIDDEN, QuantTensor(np.float32(0.009), 41), QuantTensor(np.float32(0.01), -20)]
)
def test_means_over_an_image_are_those_of_litert(
    tmp_path: Path, keeps_axes: bool, target: QuantTensor
) -> None:
    def build(f: HandMade, x: Value) -> Value:
        y = f.conv(x, f.value((7, 9, 5), HIDDEN), (3, 3), (1, 1), "VALID", depthwise=False)
        z = layers.mean(f, y, f.value((1, 1, 5) if keeps_axes else (5,), target))
        return f.dense(layers.reshape(f, z, f.value((5,), target)) if keeps_axes else z, 8, HEAD)

    policy = assert_equal_to_litert(
        by_hand(tmp_path / "f.tflite", build, (9, 11, 3), PIXELS), outputs=1_600
    )
    assert isinstance(policy.nodes[1].op, QuantMean)


@pytest.mark.parametrize(
    "target",
    [
        QuantTensor(np.float32(0.031), 7),
        QuantTensor(np.float32(0.16), -128),
        QuantTensor(np.float32(0.08), -21),
    ],
)
def test_another_scale_for_a_tensor_is_litert_s_256_entries(
    tmp_path: Path, target: QuantTensor
) -> None:
    def build(f: HandMade, x: Value) -> Value:
        return f.dense(f.apply("QUANTIZE", f.dense(x, 16, HIDDEN), target), 4, HEAD)

    policy = assert_equal_to_litert(by_hand(tmp_path / "f.tflite", build))
    assert isinstance(policy.nodes[1].op, QuantTable)
    assert policy.nodes[1].op.function == "identity"


@pytest.mark.parametrize("name", ["max", "average", "mean", "residual", "two_scales"])
def test_converted_image_networks_give_litert_s_outputs_on_every_backend(
    pooling: dict[str, Path], name: str
) -> None:
    policy = assert_equal_to_litert(pooling[name], outputs=2_000)
    integers = np.random.default_rng(2).integers(-128, 128, (100, *IMAGE)).astype(np.int8)
    expected = NumpyRuntime(policy).run(integers)
    np.testing.assert_array_equal(LitertRuntime(emit_tflite(policy)).run(integers), expected)
    np.testing.assert_array_equal(OnnxRuntime(emit_onnx(policy)).run(integers), expected)


@pytest.mark.parametrize("name", ["max", "average", "residual", "two_scales"])
@pytest.mark.parametrize("core", [M4, M0])
def test_firmware_of_a_converted_network_answers_as_litert_does(
    pooling: dict[str, Path], name: str, core: tuple[str, Fpu]
) -> None:
    need("ziglang", "unicorn", "elftools", "capstone")
    policy = read_tflite(pooling[name], ImportOptions())
    frames = np.random.default_rng(3).integers(0, 256, (8, *IMAGE), np.uint8)
    assert (
        profile_unicorn(
            workload_for(policy, frames, board_with(core)), board_with(core), default_cache_dir()
        ).differing
        == 0
    )


@pytest.mark.long
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("kernel", "stride"), [((3, 3), (2, 2)), ((4, 2), (1, 3)), ((5, 4), (3, 2))]
)
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("is_padded", [False, True])
def test_convolutions_pad_as_litert_does(
    tmp_path: Path,
    padding: str,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    depthwise: bool,
    is_padded: bool,
) -> None:
    def build(f: HandMade, x: Value) -> Value:
        if is_padded:
            x = layers.pad(f, x, ((2, 1), (0, 3)))
        sizes = [x.shape[a] if padding == "SAME" else x.shape[a] - kernel[a] + 1 for a in (0, 1)]
        rows, cols = (-(-size // step) for size, step in zip(sizes, stride, strict=True))
        y = f.conv(
            x,
            f.value((rows, cols, 3 if depthwise else 5), HIDDEN),
            kernel,
            stride,
            padding,
            depthwise=depthwise,
        )
        return f.dense(layers.reshape(f, y, f.value((int(np.prod(y.shape)),), HIDDEN)), 8, HEAD)

    pixels = QuantTensor(np.float32(1 / 255), -128)
    assert_equal_to_litert(by_hand(tmp_path / "f.tflite", build, (9, 11, 3), pixels), outputs=800)


def test_raw_pixels_from_0_to_255_are_pixels_too(tmp_path: Path) -> None:
    def build(f: HandMade, x: Value) -> Value:
        return f.dense(
            layers.reshape(f, x, f.value((60,), QuantTensor(np.float32(1), -128))),
            4,
            QuantTensor(np.float32(20), 0),
        )

    policy = assert_equal_to_litert(
        by_hand(tmp_path / "f.tflite", build, (5, 4, 3), QuantTensor(np.float32(1), -128))
    )
    assert policy.observation.is_pixels


def test_an_argmax_at_the_end_is_the_choice_of_an_action(tmp_path: Path) -> None:
    file = HandMade()
    x = file.value((8,), INPUT_TENSOR)
    scores = file.dense(x, 4, HEAD)
    chosen = file.activation("chosen", (), np.int32)
    axis = file.constant("axis", np.array([-1], np.int32))
    options = schema.ArgMaxOptionsT()
    options.outputType = schema.TensorType.INT32
    file.operator(OPS.ARG_MAX, 2, [scores.index, axis], chosen, options)
    policy = assert_equal_to_litert(file.write(tmp_path / "f.tflite", x, chosen))
    assert policy.contract.action == Action("discrete", 4)


def test_of_two_outputs_the_one_that_fits_the_action_space_is_the_policy(tmp_path: Path) -> None:
    file = HandMade()
    x = file.value((8,), INPUT_TENSOR)
    hidden = file.dense(x, 16, HIDDEN)
    value, scores = file.dense(hidden, 1, HEAD), file.dense(hidden, 4, HEAD)
    path = file.write(tmp_path / "f.tflite", x, value.index, scores.index)
    assert (
        len(assert_equal_to_litert(path, ImportOptions(action_space=Action("discrete", 4))).nodes)
        == 2
    )
    with pytest.raises(InputError, match=r"0 of its 2 outputs .*--output NAME"):
        read_policy(path)
    one = ImportOptions(
        output=read_graph(path).output_names[0], action_space=Action("box", 1, (-1.0,), (1.0,))
    )
    assert len(read_tflite(path, one).nodes) == 2
    with pytest.raises(InputError, match="has no such output"):
        read_policy(path, ImportOptions(output="nobody"))


def test_a_weight_scale_for_all_channels_is_spread_over_them(tmp_path: Path) -> None:
    policy = assert_equal_to_litert(
        by_hand(tmp_path / "f.tflite", lambda f, x: f.dense(x, 16, HEAD, scales=1))
    )
    assert isinstance(policy.nodes[0].op, QuantDense)
    assert np.unique(policy.nodes[0].op.weight_scale).size == 1


def plain(f: HandMade, x: Value) -> Value:
    return f.dense(f.dense(x, 8, HIDDEN), 4, HEAD)


def set_tensor(index: int, **values: Any) -> Callable[[Any], None]:
    """Change fields of the tensor that operator 1 reads at a position (or writes, at -1), or of its
    quantisation.
    """

    def change(graph: Any) -> None:
        operator = graph.operators[1]
        tensor = graph.tensors[operator.outputs[0] if index < 0 else operator.inputs[index]]
        for name, value in values.items():
            setattr(tensor if hasattr(tensor, name) else tensor.quantization, name, value)

    return change


def set_operator(**values: Any) -> Callable[[Any], None]:
    def change(graph: Any) -> None:
        for name, value in values.items():
            setattr(
                graph.operators[1].builtinOptions
                if hasattr(graph.operators[1].builtinOptions, name)
                else graph.operators[1],
                name,
                value,
            )

    return change


WRONG: list[tuple[Callable[[Any], None], str]] = [
    (
        set_tensor(1, quantizedDimension=1),
        r"weights with 4 scales along axis 1: one, or 4 along axis 0",
    ),
    (set_tensor(1, zeroPoint=[0, 0, 7, 0]), "weights with zero point 7"),
    (set_tensor(1, quantization=None), "weights with 0 scales"),
    (set_tensor(1, scale=[0.1, 0.1, -0.1, 0.1]), "weight scale of -0.1.* in channel 2"),
    (set_tensor(1, scale=[0.1, np.nan, 0.1, 0.1]), "weight scale of nan in channel 1"),
    (set_tensor(1, scale=[9e9] * 4), "rescale factor is"),
    (set_tensor(2, type=schema.TensorType.INT64), r"a constant INT64 .* has 16 bytes"),
    (set_tensor(-1, quantization=None), "INT8 with 0 scales"),
    (set_tensor(-1, scale=[np.inf]), "has scale inf"),
    (set_tensor(-1, zeroPoint=[300]), "zero point 300"),
    (set_tensor(-1, shape=[1, 5]), r"says its result has shape \(1, 5\)"),
    (set_tensor(0, type=schema.TensorType.UINT8), "quantised to uint8"),
    (set_tensor(0, type=schema.TensorType.FLOAT32), r"dynamic range"),
    (set_operator(weightsFormat=1), "packed weights"),
    (set_operator(fusedActivationFunction=2), "fused activation RELU_N1_TO_1"),
    (set_operator(inputs=[99, 1, 2]), "names tensors"),
    (set_operator(inputs=[]), "reads nothing"),
    (set_operator(inputs=[-1]), "reads nothing"),
    (set_operator(opcodeIndex=9), "operator 1 is of unknown kind 9"),
    (lambda graph: graph.operators.reverse(), "before it is made"),
    (lambda graph: setattr(graph, "inputs", [0, 0]), "has 2 inputs"),
    (lambda graph: setattr(graph, "outputs", []), "0 outputs"),
    (lambda graph: setattr(graph, "outputs", list(graph.inputs)), "there is no policy in it"),
    (
        lambda graph: setattr(graph.tensors[graph.inputs[0]], "shape", [32, 8]),
        r"its input has shape \(32, 8\)",
    ),
]


@pytest.mark.long
@pytest.mark.parametrize(("change", "words"), WRONG)
def test_a_file_that_says_something_else_is_refused_with_what_it_says(
    tmp_path: Path, change: Callable[[Any], None], words: str
) -> None:
    path = by_hand(tmp_path / "f.tflite", plain)
    assert_equal_to_litert(path)
    with pytest.raises(InputError, match=words) as caught:
        read_policy(write(path, edited(path.read_bytes(), change)))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("normalizer", "inv_scale", "zero_point", "bounds"),
    [
        (Normalizer((0.0,) * 8, (4.0,) * 8, 0.0, 100.0), 10.0, 3, (-128, 127)),
        (
            Normalizer((0.2,) * 8, (4.0,) * 8, 0.0, 5.0),
            10.0,
            1,
            (-97, 103),
        ),  # 0.2 are two steps of 0.1, the clip is at 100
    ],
)
def test_a_normaliser_of_whole_steps_is_folded(
    tmp_path: Path,
    normalizer: Normalizer,
    inv_scale: float,
    zero_point: int,
    bounds: tuple[int, int],
) -> None:
    path = by_hand(tmp_path / "f.tflite", plain)
    found = read_tflite(path, ImportOptions(normalizer=normalizer)).observation
    np.testing.assert_allclose(found.inv_scale, inv_scale, rtol=1e-6)
    assert (found.zero_point == zero_point).all()
    assert (found.tensor.qmin, found.tensor.qmax) == bounds
    obs = np.random.default_rng(0).normal(0, 8, (4_000, 8)).astype(np.float32)
    meant = np.clip(np.rint(normalizer.apply(obs) / np.float64(np.float32(0.05))) + 3, -128, 127)
    assert (
        found.quantize(obs) != meant
    ).mean() < 1e-3  # an observation half way between two integers may fall to either


def test_a_normaliser_that_leaves_a_rest_is_refused(tmp_path: Path) -> None:
    normalizer = Normalizer((0.0,) * 7 + (0.03,), (1.0,) * 8, 0.0, 10.0)
    with pytest.raises(
        UnsupportedError, match=r"mean of feature 7 is 0.6 steps .* normalise inside the network"
    ):
        read_tflite(by_hand(tmp_path / "f.tflite", plain), ImportOptions(normalizer=normalizer))


def test_files_that_claim_too_much_are_refused_before_they_cost_anything(tmp_path: Path) -> None:
    content = by_hand(tmp_path / "f.tflite", plain).read_bytes()

    def grow(change: Callable[[Any], None]) -> Path:
        return write(tmp_path / "g.tflite", edited(content, change))

    bombs = [
        grow(lambda graph: setattr(graph, "tensors", graph.tensors * 800)),
        grow(lambda graph: setattr(graph, "operators", graph.operators * 800)),
        grow(lambda graph: setattr(graph.operators[0], "inputs", [0] * 5_000)),
        grow(
            lambda graph: setattr(
                graph.tensors[graph.operators[0].outputs[0]], "shape", [1, 1 << 30]
            )
        ),
    ]
    for path in bombs:
        with pytest.raises(UntrustedFileError, match="at most"):
            read_policy(path)
    with (tmp_path / "huge.tflite").open("wb") as file:
        file.write(content)
        file.truncate(1 << 28)  # sparse: it takes no space
    with pytest.raises(UntrustedFileError, match="134,217,728 are read"):
        read_policy(tmp_path / "huge.tflite")


def test_several_graphs_are_refused(tmp_path: Path) -> None:
    model = schema.ModelT.InitFromPackedBuf(by_hand(tmp_path / "f.tflite", plain).read_bytes(), 0)
    model.subgraphs = model.subgraphs * 2
    with pytest.raises(UnsupportedError, match="has 2 graphs"):
        read_policy(write(tmp_path / "f.tflite", packed(model)))


@pytest.mark.parametrize("name", ["mlp_float_ends", "cnn"])
def test_a_damaged_file_never_raises_anything_but_our_errors(
    made: dict[str, Path], tmp_path: Path, name: str
) -> None:
    content, rng = made[name].read_bytes(), np.random.default_rng(11)
    path, kept = tmp_path / "damaged.tflite", 0
    for turn in range(400):
        damaged = bytearray(content)
        at = int(rng.integers(0, len(content) - 64))
        if turn % 4 == 0:
            damaged = damaged[:at]
        elif turn % 4 == 1:
            damaged[at] ^= 1 << int(rng.integers(0, 8))
        elif turn % 4 == 2:
            word = int(rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, len(content), at]))
            damaged[at // 4 * 4 : at // 4 * 4 + 4] = word.to_bytes(4, "little")
        else:
            damaged[at : at + 32] = rng.bytes(32)
        try:
            read_policy(write(path, bytes(damaged)))
            kept += 1
        except QuarlError:
            pass
    assert 0 < kept < 400  # some flips hit a weight, which nobody can tell
