"""The .onnx files answer as the NumPy reference does, bit for bit, in any session, and are written
the same way twice.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import onnxruntime
import pytest

from quarl.emitters import emit_float_onnx, emit_onnx
from quarl.graph.policy import Add
from quarl.graph.quant_policy import QuantDense, QuantNode, QuantTensor
from quarl.runtimes.host import NumpyRuntime, OnnxRuntime
from quarl.study.paper import rounded_to_half
from tests.emitters.test_tflite import small_float_policy
from tests.support.random_policies import (
    CASES,
    NARROW,
    Builder,
    near_tie_policy,
    random_integers,
    random_policy,
    wide_tensor,
)


@pytest.mark.parametrize("case", CASES)
def test_onnx_runtime_gives_every_output_of_the_reference(case: str) -> None:
    compared = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        policy = random_policy(case, rng)
        integers = random_integers(policy, rng, 250 if len(CASES[case][0]) == 3 else 1500)
        expected, found = (
            NumpyRuntime(policy).run(integers),
            OnnxRuntime(emit_onnx(policy)).run(integers),
        )
        assert found.dtype == expected.dtype
        assert int((found != expected).sum()) == 0
        compared += expected.size
    assert compared >= 8_000


@pytest.mark.parametrize(
    "target",
    [QuantTensor(np.float32(0.07), 5), QuantTensor(np.float32(0.07), -128), wide_tensor(12, 0.01)],
)
def test_onnx_runtime_rounds_as_the_reference_next_to_ties(target: QuantTensor) -> None:
    policy = near_tie_policy(np.random.default_rng(7), 4000, NARROW, target)
    assert isinstance(policy.nodes[0].op, QuantDense)
    integers = np.arange(-128, 128, dtype=np.int8)[:, None]
    assert (
        int(
            (
                OnnxRuntime(emit_onnx(policy)).run(integers) != NumpyRuntime(policy).run(integers)
            ).sum()
        )
        == 0
    )


@pytest.mark.slow
def test_onnx_runtime_gives_every_output_of_the_reference_in_a_large_sweep() -> None:
    compared = 0
    for seed in range(60):
        for case in CASES:
            rng = np.random.default_rng(1000 + seed)
            policy = random_policy(case, rng)
            integers = random_integers(policy, rng, 500 if len(CASES[case][0]) == 3 else 4000)
            expected, found = (
                NumpyRuntime(policy).run(integers),
                OnnxRuntime(emit_onnx(policy)).run(integers),
            )
            assert int((found != expected).sum()) == 0, (case, seed)
            compared += expected.size
    assert compared > 10_000_000


@pytest.mark.parametrize("option", ["", "session.qdqisint8allowed", "session.x64quantprecision"])
@pytest.mark.parametrize("case", ["dense chain", "images"])
def test_no_session_option_is_needed_or_does_harm(case: str, option: str) -> None:
    rng = np.random.default_rng(2)
    policy = random_policy(case, rng)
    integers = random_integers(policy, rng, 500)
    options = onnxruntime.SessionOptions()
    if option:
        options.add_session_config_entry(option, "1")
    session = onnxruntime.InferenceSession(emit_onnx(policy), options)
    found = session.run(["output"], {"observation": integers})[0]
    assert int((found != NumpyRuntime(policy).run(integers)).sum()) == 0


def test_every_sum_of_two_integers_is_exact() -> None:
    integers = np.array(list(product(range(-128, 128), repeat=2)), np.int8)
    for zero_point, scale in product((-128, -3, 77), (0.05, 1 / 64, 3.7e-5)):
        tensor = QuantTensor(np.float32(scale), zero_point)
        builder = Builder(np.random.default_rng(0), (2,), tensor)
        one = QuantDense(
            np.eye(2, dtype=np.int8),
            np.zeros(2, np.int32),
            np.ones(2, np.float32),
            np.ones(2, np.float32),
        )
        swap = QuantDense(
            np.eye(2, dtype=np.int8)[::-1].copy(), one.bias, one.multiplier, one.weight_scale
        )
        builder.nodes = [
            QuantNode("same", one, ("observation",), tensor),
            QuantNode("swapped", swap, ("observation",), tensor),
            QuantNode("sum", Add(), ("same", "swapped"), tensor),
        ]
        builder.shapes["sum"], builder.newest = (2,), "sum"
        policy = builder.build()
        expected = np.clip(integers.astype(np.int32).sum(axis=1) - zero_point, -128, 127)
        assert (OnnxRuntime(emit_onnx(policy)).run(integers)[:, 0] == expected).all()


@pytest.mark.parametrize("case", CASES)
def test_the_file_is_valid_and_the_same_when_written_again(case: str) -> None:
    model = emit_onnx(random_policy(case, np.random.default_rng(5)))
    assert model == emit_onnx(random_policy(case, np.random.default_rng(5)))
    onnx.checker.check_model(model, full_check=True)


def test_the_file_names_its_ends_and_its_origin() -> None:
    policy = random_policy("wide observation", np.random.default_rng(0))
    model = onnx.load_from_string(emit_onnx(policy))
    assert [(v.name, v.type.tensor_type.elem_type) for v in model.graph.input] == [
        ("observation", onnx.TensorProto.INT16)
    ]
    assert [(v.name, v.type.tensor_type.elem_type) for v in model.graph.output] == [
        ("output", onnx.TensorProto.FLOAT)
    ]
    assert [
        d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim
    ] == ["batch", 24]
    assert {p.key: p.value for p in model.metadata_props}[
        "quarl.contract_sha256"
    ] == policy.contract.digest
    assert {node.domain for node in model.graph.node} == {""}, "standard operators only"


def test_a_wide_result_is_written_as_int16() -> None:
    builder = Builder(np.random.default_rng(0), (24,), NARROW)
    builder.dense(16, builder.output())
    builder.dense(4, wide_tensor(12, 0.01, 9))
    policy = builder.build()
    integers = random_integers(policy, np.random.default_rng(1), 500)
    found = OnnxRuntime(emit_onnx(policy)).run(integers)
    assert found.dtype == np.int16
    assert (found == NumpyRuntime(policy).run(integers)).all()


def test_the_float_file_answers_as_the_float_graph() -> None:
    rng = np.random.default_rng(0)
    policy = small_float_policy(rng)
    obs = rng.integers(0, 256, (50, 4, 10, 10), dtype=np.uint8)
    model = emit_float_onnx(policy)
    onnx.checker.check_model(model, full_check=True)
    assert (
        np.abs(OnnxRuntime(model).run(policy.graph_input(obs)) - policy.outputs(obs)).max() < 1e-6
    )
    assert model == emit_float_onnx(policy)


def test_the_half_file_answers_as_the_graph_with_parameters_of_float16() -> None:
    rng = np.random.default_rng(0)
    policy = small_float_policy(rng)
    obs = rng.integers(0, 256, (50, 4, 10, 10), dtype=np.uint8)
    model = emit_float_onnx(policy, half=True)
    onnx.checker.check_model(model, full_check=True)
    found = OnnxRuntime(model).run(policy.graph_input(obs))
    assert np.abs(found - rounded_to_half(policy).outputs(obs)).max() < 1e-6
    assert len(model) < len(emit_float_onnx(policy))
