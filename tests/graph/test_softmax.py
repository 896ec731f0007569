"""The softmax a file ended in: outside the exact set, labelled so, equal on host and device, close
to LiteRT's.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from quarl.bundle.policy_file import quant_policy_bytes, read_quant_policy_file
from quarl.errors import InputError, QuantizationError, UnsupportedError
from quarl.firmware.lower import lower
from quarl.firmware.render_header import render_header
from quarl.graph.quant_policy import QuantTensor
from quarl.graph.reference import integer_outputs, probabilities
from quarl.graph.softmax import exponential, softmax
from quarl.importers import ImportOptions
from quarl.importers.tflite import read_tflite
from quarl.runtimes.host import LitertRuntime
from tests.conftest import need
from tests.support.host_build import HostPolicy, kernel_objects
from tests.support.tflite_models import HandMade

HIDDEN, HEAD = QuantTensor(np.float32(0.08), -20), QuantTensor(np.float32(0.1), 5)
PROBABILITY = QuantTensor(np.float32(1 / 256), -128)


def ending_in_softmax(path: Path, beta: float = 1.0, *, is_last: bool = True) -> Path:
    file = HandMade()
    x = file.value((8,), QuantTensor(np.float32(0.05), 3))
    options = schema.SoftmaxOptionsT()
    options.beta = beta
    chosen = file.apply(
        "SOFTMAX", file.dense(file.dense(x, 16, HIDDEN), 6, HEAD), PROBABILITY, 2, options
    )
    return file.write(path, x, (chosen if is_last else file.dense(chosen, 4, HEAD)).index)


def test_the_exponential_is_that_of_double_within_three_units_of_the_last_place() -> None:
    x = np.concatenate([np.linspace(-87, 0, 200_001), -np.exp2(np.linspace(-30, 6, 1000))]).astype(
        np.float32
    )
    exact = np.exp(x.astype(np.float64))
    assert (
        np.abs(exponential(x) - exact)
        <= 3 * np.spacing(exact.astype(np.float32)).astype(np.float64)
    ).all()
    assert exponential(np.array([-88, -1e30, -np.inf, 0], np.float32)).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_probabilities_are_those_of_litert_within_a_step(tmp_path: Path, beta: float) -> None:
    path = ending_in_softmax(tmp_path / "f.tflite", beta)
    policy = read_tflite(path, ImportOptions())
    obs = np.random.default_rng(0).normal(0, 3, (2_000, 8)).astype(np.float32)
    ours = probabilities(policy, integer_outputs(policy, obs))
    theirs = PROBABILITY.dequantize(
        LitertRuntime(path.read_bytes()).run(policy.observation.quantize(obs).astype(np.int8))
    )
    assert np.unique(theirs).size > 200
    np.testing.assert_allclose(ours.sum(axis=1), 1, atol=1e-6)
    assert np.abs(ours - np.minimum(theirs, 1)).max() <= 1 / 256


def test_a_device_gives_the_same_bits_as_the_host_and_says_what_they_are(tmp_path: Path) -> None:
    need("gcc")
    policy = read_tflite(ending_in_softmax(tmp_path / "f.tflite"), ImportOptions())
    program = lower(policy, "portable")
    assert "OUTSIDE THE EXACT SET" in render_header(program)
    host = HostPolicy(program, tmp_path / "host", kernel_objects(tmp_path / "objects", "gcc", ()))
    outputs = np.random.default_rng(1).integers(-128, 128, (500, 6)).astype(np.int8)
    made = np.zeros((500, 6), np.float32)
    for row, out in zip(outputs, made, strict=True):
        host._library.ql_policy_probabilities(
            row.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p)
        )
    np.testing.assert_array_equal(made, probabilities(policy, outputs))


def test_without_a_softmax_there_is_no_such_function(tmp_path: Path) -> None:
    policy = read_tflite(ending_in_softmax(tmp_path / "f.tflite"), ImportOptions())
    assert "probabilities" not in render_header(
        lower(replace(policy, softmax_beta=None), "portable")
    )


def test_a_file_keeps_the_softmax(tmp_path: Path) -> None:
    policy = read_tflite(ending_in_softmax(tmp_path / "f.tflite", 0.5), ImportOptions())
    assert policy.softmax_beta == 0.5
    path = tmp_path / "policy.npz"
    path.write_bytes(quant_policy_bytes(policy))
    assert read_quant_policy_file(path).softmax_beta == 0.5
    path.write_bytes(quant_policy_bytes(replace(policy, softmax_beta=1)))
    with pytest.raises(InputError, match="softmax_beta is 1, it must be a number"):
        read_quant_policy_file(path)
    with pytest.raises(QuantizationError, match="must be a positive number"):
        replace(policy, softmax_beta=0.0)


def test_a_softmax_inside_the_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"reads what SOFTMAX gives"):
        read_tflite(ending_in_softmax(tmp_path / "f.tflite", is_last=False), ImportOptions())


def test_equal_values_are_equally_likely() -> None:
    np.testing.assert_array_equal(
        softmax(np.full((3, 4), 7.5, np.float32), 1.0), np.full((3, 4), 0.25, np.float32)
    )
