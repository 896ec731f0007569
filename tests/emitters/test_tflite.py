"""The .tflite files answer as the NumPy reference does, bit for bit, and are written the same way
twice.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quarl.emitters import emit_float_tflite, emit_tflite
from quarl.emitters.tflite import native_tables
from quarl.emitters.tflite_file import ALIGNMENT, metadata_of
from quarl.emitters.tflite_layers import Window, padding_scheme
from quarl.errors import QuantizationError
from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.policy import (
    Activation,
    Add,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Node,
    Policy,
)
from quarl.graph.quant_policy import QuantDense, QuantPolicy, QuantTable, QuantTensor
from quarl.runtimes.host import LitertRuntime, NumpyRuntime
from quarl.study.paper import rounded_to_half
from tests.support.random_policies import (
    CASES,
    NARROW,
    TANH_TENSOR,
    Builder,
    near_tie_policy,
    random_integers,
    random_policy,
    wide_tensor,
)


@pytest.mark.parametrize("case", CASES)
def test_litert_gives_every_output_of_the_reference(case: str) -> None:
    compared = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        policy = random_policy(case, rng)
        integers = random_integers(policy, rng, 250 if len(CASES[case][0]) == 3 else 1500)
        expected, found = (
            NumpyRuntime(policy).run(integers),
            LitertRuntime(emit_tflite(policy)).run(integers),
        )
        assert found.dtype == expected.dtype
        assert np.unique(expected).size > 30, (
            "a policy that says the same everywhere proves nothing"
        )
        assert int((found != expected).sum()) == 0
        compared += expected.size
    assert compared >= 8_000


@pytest.mark.parametrize(
    "target",
    [QuantTensor(np.float32(0.07), 5), QuantTensor(np.float32(0.07), -128), wide_tensor(12, 0.01)],
)
def test_litert_rounds_as_the_reference_next_to_ties(target: QuantTensor) -> None:
    rng = np.random.default_rng(7)
    policy = near_tie_policy(rng, 4000, NARROW, target)
    op = policy.nodes[0].op
    assert isinstance(op, QuantDense)
    integers = np.arange(-128, 128, dtype=np.int8)[:, None]
    accumulators = (integers.astype(np.int64) - NARROW.zero_point) @ op.weights.T.astype(
        np.int64
    ) + op.bias
    distance = np.abs(accumulators * op.multiplier.astype(np.float64) % 1 - 0.5)
    assert int((distance < 2e-5).sum()) > 300
    assert (
        int(
            (
                LitertRuntime(emit_tflite(policy)).run(integers)
                != NumpyRuntime(policy).run(integers)
            ).sum()
        )
        == 0
    )


@pytest.mark.slow
def test_litert_gives_every_output_of_the_reference_in_a_large_sweep() -> None:
    compared = 0
    for seed in range(60):
        for case in CASES:
            rng = np.random.default_rng(1000 + seed)
            policy = random_policy(case, rng)
            integers = random_integers(policy, rng, 500 if len(CASES[case][0]) == 3 else 4000)
            expected, found = (
                NumpyRuntime(policy).run(integers),
                LitertRuntime(emit_tflite(policy)).run(integers),
            )
            assert int((found != expected).sum()) == 0, (case, seed)
            compared += expected.size
    assert compared > 10_000_000


@pytest.mark.parametrize("case", CASES)
def test_the_batch_size_changes_nothing(case: str) -> None:
    rng = np.random.default_rng(3)
    policy = random_policy(case, rng)
    integers = random_integers(policy, rng, 64)
    runtime = LitertRuntime(emit_tflite(policy))
    one_by_one = np.concatenate([runtime.infer(integers[i : i + 1]) for i in range(64)])
    assert (runtime.infer(integers) == one_by_one).all()
    assert (runtime.infer(integers[:7]) == one_by_one[:7]).all()
    assert (runtime.run(integers[:43]) == one_by_one[:43]).all()


@pytest.mark.parametrize("case", CASES)
def test_the_same_policy_gives_the_same_bytes(case: str) -> None:
    assert emit_tflite(random_policy(case, np.random.default_rng(5))) == emit_tflite(
        random_policy(case, np.random.default_rng(5))
    )


def test_the_file_declares_what_its_integers_mean() -> None:
    from ai_edge_litert.interpreter import Interpreter

    policy = random_policy("dense chain", np.random.default_rng(0))
    interpreter = Interpreter(model_content=emit_tflite(policy))
    assert list(interpreter.get_signature_list()["serving_default"].values()) == [
        ["observation"],
        ["output"],
    ]
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert (given["name"], given["dtype"], list(given["shape_signature"])) == (
        "observation",
        np.int8,
        [-1, 24],
    )
    assert given["quantization"] == pytest.approx((NARROW.scale, NARROW.zero_point))
    last = policy.nodes[-1].output
    assert last is not None
    assert made["quantization"] == pytest.approx((last.scale, last.zero_point))


def test_the_file_says_where_it_comes_from() -> None:
    policy = random_policy("dense chain", np.random.default_rng(0))
    metadata = metadata_of(emit_tflite(policy))
    assert metadata["quarl.contract_sha256"] == policy.contract.digest
    assert set(metadata) == {
        "quarl.contract_sha256",
        "quarl.rung",
        "quarl.source_sha256",
        "quarl.version",
    }


def test_constants_start_where_a_device_can_read_them_in_place() -> None:
    model = emit_tflite(random_policy("dense chain", np.random.default_rng(0)))
    policy = random_policy("dense chain", np.random.default_rng(0))
    for node in policy.nodes:
        assert isinstance(node.op, QuantDense)
        for values in (node.op.weights, node.op.bias):
            assert model.index(values.tobytes()) % ALIGNMENT == 0


def test_tanh_is_litert_s_own_only_where_all_256_entries_agree() -> None:
    builder = Builder(np.random.default_rng(0), (24,), NARROW)
    builder.dense(8, builder.output())
    name = builder.table("tanh", TANH_TENSOR)
    policy = builder.build()
    assert native_tables(policy) == {name}
    op = policy.nodes[-1].op
    assert isinstance(op, QuantTable)
    table = op.table.copy()
    table[100] += 1
    other = replace(
        policy, nodes=(*policy.nodes[:-1], replace(policy.nodes[-1], op=QuantTable("tanh", table)))
    )
    assert native_tables(other) == frozenset()
    integers = random_integers(other, np.random.default_rng(1), 3000)
    assert (
        LitertRuntime(emit_tflite(other)).run(integers) == NumpyRuntime(other).run(integers)
    ).all()


def test_scales_that_do_not_give_the_stored_multiplier_are_refused() -> None:
    policy = random_policy("dense chain", np.random.default_rng(0))
    op = policy.nodes[0].op
    assert isinstance(op, QuantDense)
    multiplier = op.multiplier.copy()
    multiplier[3] = np.nextafter(multiplier[3], np.float32(1))
    broken = replace(
        policy,
        nodes=(replace(policy.nodes[0], op=replace(op, multiplier=multiplier)), *policy.nodes[1:]),
    )
    with pytest.raises(QuantizationError, match="layer0, channel 3: the stored multiplier"):
        emit_tflite(broken)


def test_a_concat_of_unequal_tensors_is_refused() -> None:
    builder = Builder(np.random.default_rng(0), (24,), NARROW)
    first = builder.dense(8, QuantTensor(np.float32(0.05), 0))
    second = builder.dense(8, QuantTensor(np.float32(0.06), 0), source="observation")
    builder.concat([first, second])
    builder.dense(4, builder.output())
    with pytest.raises(QuantizationError, match="different scale or zero point"):
        emit_tflite(builder.build())


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "padding", "scheme"),
    [
        (84, 8, 4, (0, 0), "VALID"),
        (84, 3, 1, (1, 1), "SAME"),
        (84, 3, 2, (0, 1), "SAME"),
        (84, 3, 2, (1, 1), None),
        (85, 3, 2, (1, 1), "SAME"),
    ],
)
def test_tensorflow_padding_is_used_only_where_it_is_the_explicit_one(
    length: int, kernel: int, stride: int, padding: tuple[int, int], scheme: str | None
) -> None:
    window = Window((kernel, kernel), (stride, stride), (padding, padding), is_depthwise=False)
    assert padding_scheme((length, length, 4), window) == scheme


def small_float_policy(rng: np.random.Generator) -> Policy:
    """Return a policy with every operation of the graph."""

    def weights(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    def bias(count: int) -> np.ndarray:
        return rng.normal(size=count).astype(np.float32)

    padding = ((1, 1), (1, 1))
    nodes = (
        Node("conv", Conv2D(weights(6, 3, 3, 4), bias(6), (2, 2), padding), ("observation",)),
        Node("relu", Activation("relu"), ("conv",)),
        Node("each", DepthwiseConv2D(weights(6, 3, 3), bias(6), (1, 1), padding), ("relu",)),
        Node("relu6", Activation("relu6"), ("each",)),
        Node("both", Add(), ("relu", "relu6")),
        Node("flat", Flatten(), ("both",)),
        Node("left", Dense(weights(16, 150), bias(16)), ("flat",)),
        Node("tanh", Activation("tanh"), ("left",)),
        Node("right", Dense(weights(16, 150), bias(16)), ("flat",)),
        Node("elu", Activation("elu"), ("right",)),
        Node("joined", Concat(), ("tanh", "elu")),
        Node("head", Dense(weights(3, 32), bias(3)), ("joined",)),
        Node("squash", Activation("sigmoid"), ("head",)),
    )
    contract = Contract(Observation((4, 10, 10), "uint8", "chw"), Action("discrete", 3))
    return Policy(nodes, contract, "DQN", "test", "0" * 64)


def test_the_float_file_answers_as_the_float_graph() -> None:
    rng = np.random.default_rng(0)
    policy = small_float_policy(rng)
    obs = rng.integers(0, 256, (50, 4, 10, 10), dtype=np.uint8)
    model = emit_float_tflite(policy)
    found = LitertRuntime(model).run(policy.graph_input(obs))
    assert np.abs(found - policy.outputs(obs)).max() < 1e-6
    assert model == emit_float_tflite(policy)


def test_the_half_file_answers_as_the_graph_with_parameters_of_float16() -> None:
    rng = np.random.default_rng(0)
    policy = small_float_policy(rng)
    obs = rng.integers(0, 256, (50, 4, 10, 10), dtype=np.uint8)
    model = emit_float_tflite(policy, half=True)
    found = LitertRuntime(model).run(policy.graph_input(obs))
    assert np.abs(found - rounded_to_half(policy).outputs(obs)).max() < 1e-6
    assert np.abs(found - policy.outputs(obs)).max() > 1e-6
    assert len(model) < len(emit_float_tflite(policy))


def test_a_wide_result_is_written_as_int16() -> None:
    builder = Builder(np.random.default_rng(0), (24,), NARROW)
    builder.dense(16, builder.output())
    builder.dense(4, wide_tensor(12, 0.01, 9))
    policy: QuantPolicy = builder.build()
    integers = random_integers(policy, np.random.default_rng(1), 500)
    found = LitertRuntime(emit_tflite(policy)).run(integers)
    assert found.dtype == np.int16
    assert (found == NumpyRuntime(policy).run(integers)).all()
