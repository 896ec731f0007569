"""Max pooling: from a framework to the integers of every target. It copies numbers, so nothing is
lost and nothing differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from quarl.boards.core import Kernels
from quarl.emitters import emit_float_onnx, emit_float_tflite, emit_onnx, emit_tflite
from quarl.errors import InputError
from quarl.firmware.lower import lower
from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.policy import Activation, Flatten, MaxPool2D, Op, Policy, linear_chain
from quarl.graph.reference import integer_outputs, quantize_observations, real_outputs
from quarl.importers import ImportOptions, read_policy
from quarl.quantize.calibration import calibrate
from quarl.quantize.ladder import LADDER
from quarl.quantize.quantizer import quantize
from quarl.runtimes.host import LitertRuntime, NumpyRuntime, OnnxRuntime
from tests.conftest import need
from tests.support.host_build import filter_outputs
from tests.support.small_policies import conv, dense
from tests.support.tflite_models import keras_and_tensorflow, shaken

SHAPE = (11, 12, 2)
rng = np.random.default_rng


def pooled_policy() -> Policy:
    random = rng(0)
    layers: list[tuple[str, Op]] = [
        ("conv0", conv(random, 6, (3, 3), 2, (1, 1), ((1, 1), (1, 1)))),
        ("relu0", Activation("relu")),
        (
            "pool0",
            MaxPool2D((3, 3), (2, 2), ((1, 1), (1, 1))),
        ),  # padding as PyTorch writes it, which TensorFlow has no name for
        ("conv1", conv(random, 5, (2, 2), 6)),
        ("pool1", MaxPool2D((2, 3), (1, 2))),
        ("relu1", Activation("relu")),
        ("flatten", Flatten()),
        ("head", dense(random, 4, 4 * 2 * 5)),
    ]
    contract = Contract(Observation(SHAPE, "uint8", "hwc"), Action("discrete", 4))
    return Policy(linear_chain(layers), contract, "none", "none", "0" * 64)


def frames(count: int) -> np.ndarray:  # type: ignore[type-arg]
    return rng(1).integers(0, 256, (count, *SHAPE), np.uint8)


def test_float_files_compute_what_the_graph_computes(tmp_path: Path) -> None:
    policy = pooled_policy()
    exact = policy.outputs(frames(50))
    for runtime in (LitertRuntime(emit_float_tflite(policy)), OnnxRuntime(emit_float_onnx(policy))):
        np.testing.assert_allclose(runtime.run(policy.graph_input(frames(50))), exact, atol=1e-5)


@pytest.mark.parametrize("rung", [0, 3, 5])
def test_every_target_gives_the_reference_outputs(tmp_path: Path, rung: int) -> None:
    need("gcc")
    policy = pooled_policy()
    quantized = quantize(
        policy, calibrate(frames(60), policy.contract), LADDER[rung].settings, rung
    )
    for node in quantized.nodes:
        if isinstance(node.op, MaxPool2D):
            assert node.output == quantized.tensor(node.inputs[0])
    integers = quantize_observations(quantized, frames(100)).astype(np.int8)
    expected = NumpyRuntime(quantized).run(integers)
    np.testing.assert_array_equal(LitertRuntime(emit_tflite(quantized)).run(integers), expected)
    np.testing.assert_array_equal(OnnxRuntime(emit_onnx(quantized)).run(integers), expected)
    for kernels in get_args(Kernels)[:3]:
        made = filter_outputs(
            lower(quantized, kernels),
            tmp_path / kernels,
            ("-fsanitize=address,undefined",),
            integers,
        )
        np.testing.assert_array_equal(made, expected)
    real, exact = (
        real_outputs(quantized, integer_outputs(quantized, frames(100))),
        policy.outputs(frames(100)),
    )
    differences = [
        values - values.mean(axis=1, keepdims=True) for values in (real, exact)
    ]  # an argmax head is centred
    assert np.abs(differences[0] - differences[1]).max() < 0.15


def test_keras_onnx_and_savedmodel_networks_with_max_pooling_are_read(tmp_path: Path) -> None:
    keras, _ = keras_and_tensorflow()
    L = keras.layers
    layers = [
        L.Conv2D(6, 3, activation="relu"),
        L.MaxPooling2D(2),
        L.Conv2D(5, 2),
        L.MaxPooling2D(3, strides=1, padding="same"),
    ]
    model = shaken(keras.Sequential([L.Input(SHAPE), *layers, L.Flatten(), L.Dense(4)]))
    model.save(tmp_path / "model.keras")
    options = ImportOptions(
        observation=Observation(SHAPE, "uint8", "hwc"), action_space=Action("discrete", 4)
    )
    policy = read_policy(tmp_path / "model.keras", options)
    wanted = model(frames(20).astype(np.float32) / 255).numpy()
    assert isinstance(policy, Policy)
    np.testing.assert_allclose(policy.outputs(frames(20)), wanted, atol=1e-5)
    (tmp_path / "model.onnx").write_bytes(emit_float_onnx(policy))
    again = read_policy(tmp_path / "model.onnx", options)
    assert isinstance(again, Policy)
    np.testing.assert_allclose(again.outputs(frames(20)), wanted, atol=1e-5)
    model.export(tmp_path / "saved", verbose=False)
    saved = read_policy(tmp_path / "saved", options)
    assert isinstance(saved, Policy)
    np.testing.assert_allclose(saved.outputs(frames(20)), wanted, atol=1e-5)


def test_a_window_that_fits_the_padding_is_refused() -> None:
    pool = MaxPool2D((2, 2), (1, 1), ((2, 0), (0, 0)))
    layers: list[tuple[str, Op]] = [
        ("pool", pool),
        ("flatten", Flatten()),
        ("head", dense(rng(0), 4, 12 * 11 * 2)),
    ]
    with pytest.raises(InputError, match="pool: a 2x2 window fits into the padding"):
        Policy(linear_chain(layers), pooled_policy().contract, "none", "none", "0" * 64)
