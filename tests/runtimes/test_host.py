"""The runtimes of this machine: same outputs whatever the batch or the threads, and a clear no
where they cannot be exact.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quarl.emitters import EMITTERS, emit_onnx, emit_tflite
from quarl.emitters.tflite_file import TfliteFile
from quarl.emitters.tflite_layers import Value, dense
from quarl.errors import DeviceError, InputError
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs, quantize_observations
from quarl.runtimes.host import (
    BATCH_SIZES,
    FILE_FORMAT,
    RUNTIMES,
    LitertRuntime,
    NumpyRuntime,
    OnnxRuntime,
    evaluate,
    model_inputs,
    open_runtime,
)
from tests.support.random_policies import random_policy, wide_tensor


def pixel_policy() -> QuantPolicy:
    """Return an image policy whose observations are bytes, as the quantiser makes it."""
    policy = random_policy("images", np.random.default_rng(0))
    empty = policy.observation
    return replace(
        policy,
        observation=replace(
            empty, inv_scale=np.zeros(0, np.float32), zero_point=np.zeros(0, np.int32)
        ),
    )


def test_many_observations_shared_by_two_threads_give_the_reference_s_outputs_in_order() -> None:
    policy = pixel_policy()
    frames = np.random.default_rng(1).integers(0, 256, (1100, 13, 12, 3), dtype=np.uint8)
    expected = integer_outputs(policy, frames)
    for name, runtime in RUNTIMES.items():
        model = EMITTERS[FILE_FORMAT[name]](policy)
        assert (evaluate([runtime(model), runtime(model)], policy, frames) == expected).all()
        assert (evaluate([runtime(model)], policy, frames[:300]) == expected[:300]).all()


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 31, 32, 33, 100])
def test_any_number_of_inputs_gets_as_many_outputs(count: int) -> None:
    policy = random_policy("wide head", np.random.default_rng(0))
    inputs = np.random.default_rng(1).integers(-128, 128, (count, 24), dtype=np.int8)
    expected = NumpyRuntime(policy).run(inputs)
    assert expected.shape == (count, 25)
    for runtime in (LitertRuntime(emit_tflite(policy)), OnnxRuntime(emit_onnx(policy))):
        found = runtime.run(inputs)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert (found == expected).all()


class Counting(NumpyRuntime):
    """A runtime that keeps how many inputs each of its calls had."""

    def __init__(self, policy: QuantPolicy) -> None:
        super().__init__(policy)
        self.sizes: list[int] = []

    def infer(self, inputs: np.ndarray) -> np.ndarray:
        self.sizes.append(len(inputs))
        return super().infer(inputs)


@pytest.mark.parametrize("count", range(1, 100))
def test_batches_have_few_sizes_and_little_is_computed_for_nothing(count: int) -> None:
    policy = random_policy("wide head", np.random.default_rng(0))
    runtime = Counting(policy)
    inputs = np.random.default_rng(1).integers(-128, 128, (count, 24), dtype=np.int8)
    runtime.run(inputs)
    assert set(runtime.sizes) <= set(BATCH_SIZES)
    assert count <= sum(runtime.sizes) < 4 / 3 * count
    assert len(runtime.sizes) <= count // max(BATCH_SIZES) + 3


def test_pixels_become_integers_by_one_xor() -> None:
    policy = pixel_policy()
    frames = np.random.default_rng(1).integers(0, 256, (9, 13, 12, 3), dtype=np.uint8)
    inputs = model_inputs(policy, frames)
    assert inputs.dtype == np.int8
    assert (inputs == quantize_observations(policy, frames)).all()


@pytest.mark.parametrize(
    ("case", "dtype"), [("dense chain", np.int8), ("wide observation", np.int16)]
)
def test_vectors_become_the_integers_of_the_observation_quantiser(case: str, dtype: type) -> None:
    policy = random_policy(case, np.random.default_rng(0))
    obs = np.random.default_rng(1).normal(size=(50, 24)).astype(np.float32)
    obs[3, 4] = np.nan
    inputs = model_inputs(policy, obs)
    assert inputs.dtype == dtype
    assert (inputs == quantize_observations(policy, obs)).all()


def test_a_layer_that_litert_leaves_to_other_kernels_is_refused() -> None:
    rng = np.random.default_rng(0)
    wide = wide_tensor(16, 0.01)
    file = TfliteFile()
    x = Value(file.activation("observation", (8,), np.int16, wide), (8,), np.int16, wide)
    y = Value(file.activation("y", (4,), np.int16, wide), (4,), np.int16, wide)
    w = file.constant("w", rng.integers(-9, 9, (4, 8)).astype(np.int8), np.full(1, 0.1, np.float32))
    b = file.constant("b", np.zeros(4, np.int32), np.full(1, 0.001, np.float32))
    dense(file, x, (w, b), y)
    with pytest.raises(DeviceError, match="left FULLY_CONNECTED"):
        LitertRuntime(file.finish(x.index, y.index, {}))


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_file_that_is_no_model_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="cannot load the model"):
        open_runtime(name, b"not a model")


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("inputs", [np.zeros((2, 23), np.int8), np.zeros((1, 24), np.float32)])
def test_inputs_of_another_shape_or_type_are_refused(name: str, inputs: np.ndarray) -> None:
    model = EMITTERS[FILE_FORMAT[name]](random_policy("dense chain", np.random.default_rng(0)))
    with pytest.raises(DeviceError, match="cannot run the model on"):
        open_runtime(name, model).run(inputs)


def test_an_unknown_runtime_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="use one of litert, onnxruntime"):
        open_runtime("tensorrt", b"")


def test_litert_says_nothing_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    LitertRuntime(emit_tflite(random_policy("dense chain", np.random.default_rng(0))))
    assert capfd.readouterr().err == ""
