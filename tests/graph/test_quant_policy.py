"""The quantised policy refuses, by layer and channel, whatever the backends would not all compute
alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quarl.errors import InputError, QuantizationError
from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.policy import INPUT, Add, Concat, Flatten
from quarl.graph.quant_policy import (
    ObservationQuantizer,
    QuantConv2D,
    QuantDense,
    QuantNode,
    QuantPolicy,
    QuantTensor,
    accumulator_bound,
    is_wide_layer,
)
from tests.golden.generate import rows
from tests.support.random_policies import Builder, wide_tensor
from tests.support.small_policies import dense

INT8 = QuantTensor(np.float32(0.1), 3)


def chain(seed: int = 0) -> QuantPolicy:
    """dense -> table -> dense, all int8."""
    builder = Builder(np.random.default_rng(seed), (4,))
    builder.dense(5, builder.output())
    builder.table("tanh", QuantTensor(np.float32(1 / 128), 0))
    builder.dense(3, builder.output())
    return builder.build()


def changed(policy: QuantPolicy, index: int, **fields: Any) -> QuantPolicy:
    """Return the policy with fields of one node, or of its operation, exchanged."""
    node = policy.nodes[index]
    own = {key: value for key, value in fields.items() if key in ("name", "inputs", "output")}
    inner = {key: value for key, value in fields.items() if key not in own}
    node = replace(node, op=replace(node.op, **inner), **own) if inner else replace(node, **own)
    return replace(policy, nodes=(*policy.nodes[:index], node, *policy.nodes[index + 1 :]))


def one_layer(
    weights: list[list[int]],
    bias: list[int],
    multiplier: list[float],
    output: QuantTensor | None,
    source: QuantTensor,
) -> QuantPolicy:
    count = len(weights[0])
    w, b, m = np.array(weights, np.int8), np.array(bias, np.int32), np.array(multiplier, np.float32)
    quantizer = ObservationQuantizer(
        np.ones(count, np.float32), np.full(count, source.zero_point, np.int32), source
    )
    contract = Contract(Observation((count,), "float32", "vector"), Action("discrete", len(w)))
    return QuantPolicy(
        quantizer,
        (QuantNode("head", QuantDense(w, b, m, np.ones(len(w), np.float32)), (INPUT,), output),),
        contract,
        0,
        "",
    )


def test_a_sound_policy_is_accepted() -> None:
    assert chain().output_dtype is np.int8
    assert not chain().has_wide_head


SYMMETRIC = QuantTensor(np.float32(1), 0)
WIDE = wide_tensor(12)


@pytest.mark.parametrize(
    ("bias", "multiplier", "allowed"),
    [
        (2**31 - 1 - 127 * 128, 2.0**-10, True),  # |bias| + |w| * 128 = 2^31 - 1
        (2**31 - 127 * 128, 2.0**-10, False),
        (-(2**31) + 1 + 127 * 128, 2.0**-10, True),
        (-(2**31), 2.0**-10, False),
    ],
)
def test_accumulators_must_fit_int32(bias: int, multiplier: float, allowed: bool) -> None:
    arguments = ([[1], [127]], [0, bias], [multiplier, multiplier], INT8, SYMMETRIC)
    if allowed:
        one_layer(*arguments)
        return
    with pytest.raises(
        QuantizationError,
        match=r"head, channel 1: an accumulator can reach .* allows less than 2,147,483,648",
    ):
        one_layer(*arguments)


@pytest.mark.parametrize(("source", "output"), [(WIDE, INT8), (SYMMETRIC, None), (SYMMETRIC, WIDE)])
@pytest.mark.parametrize("slack", [0, 1])
def test_accumulators_of_wide_layers_must_be_exact_in_float32(
    source: QuantTensor, output: QuantTensor | None, slack: int
) -> None:
    bias = 2**24 - source.largest_offset * 127 - slack
    arguments = ([[1], [1], [127]], [0, 0, bias], [1e-4] * 3, output, source)
    if slack:
        one_layer(*arguments)
        return
    with pytest.raises(
        QuantizationError,
        match=r"head, channel 2: an accumulator can reach .* allows less than 16,777,216",
    ):
        one_layer(*arguments)


@pytest.mark.parametrize("multiplier", [255.99, 256.0])
def test_multipliers_stay_below_256(multiplier: float) -> None:
    if multiplier < 256:
        one_layer([[1], [1]], [0, 0], [1.0, multiplier], INT8, SYMMETRIC)
        return
    with pytest.raises(QuantizationError, match="head, channel 1: the rescale factor is 256"):
        one_layer([[1], [1]], [0, 0], [1.0, multiplier], INT8, SYMMETRIC)


@pytest.mark.parametrize("bias", [2**22 - 129, 2**22 - 128])
def test_products_stay_below_2_to_the_22(bias: int) -> None:
    if bias + 128 < 2**22:
        one_layer([[0], [1]], [0, bias], [1.0, 1.0], INT8, SYMMETRIC)
        return
    with pytest.raises(
        QuantizationError,
        match=r"head, channel 1: accumulator times rescale factor can reach 4\.1943e\+06",
    ):
        one_layer([[0], [1]], [0, bias], [1.0, 1.0], INT8, SYMMETRIC)


def test_a_wide_heads_multiplier_may_be_any_positive_number() -> None:
    one_layer([[1], [1]], [0, 0], [1e-9, 1e9], None, SYMMETRIC)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["multiplier", "weight_scale"])
def test_multipliers_and_scales_must_be_positive_numbers(bad: float, field: str) -> None:
    policy = chain()
    op = policy.nodes[2].op
    assert isinstance(op, QuantDense)
    values = getattr(op, field).copy()
    values[1] = bad
    with pytest.raises(QuantizationError, match="layer2, channel 1"):
        changed(policy, 2, **{field: values})


def test_the_bound_is_reached_by_the_worst_observation_and_by_none_beyond() -> None:
    rng = np.random.default_rng(0)
    source = QuantTensor(np.float32(1), -20)
    op = QuantDense(
        rng.integers(-127, 128, (6, 9)).astype(np.int8),
        rng.integers(-99, 99, 6).astype(np.int32),
        np.ones(6, np.float32),
        np.ones(6, np.float32),
    )
    largest = np.abs(rng.integers(-128, 128, (5000, 9)) + 20) @ np.abs(
        op.weights.astype(int)
    ).T + np.abs(op.bias)
    bound = accumulator_bound(op, source)
    assert (largest <= bound).all()
    np.testing.assert_array_equal(
        bound, np.abs(op.weights.astype(int)).sum(axis=1) * 147 + np.abs(op.bias)
    )


def test_wide_layers_are_those_that_read_make_or_leave_more_than_int8() -> None:
    node = chain().nodes[0]
    assert not is_wide_layer(node, INT8)
    assert is_wide_layer(node, WIDE)
    assert is_wide_layer(replace(node, output=WIDE), INT8)
    assert is_wide_layer(replace(node, output=None), INT8)


def joined(op: Any, right: QuantTensor) -> QuantPolicy:
    builder = Builder(np.random.default_rng(0), (4,))
    left = builder.dense(3, INT8)
    other = builder.dense(3, right, source=INPUT)
    builder.tensors[other] = INT8
    builder.concat([left, other]) if isinstance(op, Concat) else builder.add(left, other)
    builder.dense(2, builder.output())
    return builder.build()


@pytest.mark.parametrize("op", [Concat(), Add()])
def test_joined_tensors_must_share_scale_and_zero_point(op: Any) -> None:
    joined(op, INT8)
    joined(op, replace(INT8, qmin=INT8.zero_point))  # a ReLU's clamp
    for other in (replace(INT8, scale=np.float32(0.2)), replace(INT8, zero_point=4)):
        with pytest.raises(
            QuantizationError, match="joins tensors of different scale or zero point"
        ):
            joined(op, other)


def test_a_concat_may_not_be_narrower_than_what_it_copies() -> None:
    policy = joined(Concat(), INT8)
    with pytest.raises(QuantizationError, match="copies integers beyond its own bounds"):
        changed(policy, 2, output=replace(INT8, qmax=100))


@pytest.mark.parametrize(
    ("index", "fields", "found"),
    [
        (0, {"weights": np.zeros((5, 4), np.int16)}, "must be int8, int32, float32"),
        (0, {"weights": np.zeros((5, 4, 1), np.int8)}, "not an operation"),
        (0, {"weights": np.zeros((5, 0), np.int8)}, "layer0"),
        (0, {"weights": np.zeros((5, 3), np.int8)}, "takes 3 inputs, is given shape"),
        (0, {"bias": np.zeros(5, np.int64)}, "must be int8, int32, float32"),
        (0, {"bias": np.zeros(4, np.int32)}, "5 channels, but"),
        (0, {"multiplier": np.ones(5)}, "must be int8, int32, float32"),
        (0, {"weight_scale": np.ones(4, np.float32)}, "5 channels, but"),
        (0, {"weight_scale": np.ones(5)}, "float64 scales"),
        (0, {"output": None}, "only a last layer"),
        (0, {"inputs": ("nowhere",)}, "nowhere"),
        (0, {"inputs": ("layer2",)}, "comes later"),
        (0, {"inputs": (INPUT, INPUT)}, "takes 1 input"),
        (2, {"name": "layer0"}, "two layers are 'layer0'"),
        (1, {"table": np.zeros(255, np.int16)}, r"must be int16 \(256,\)"),
        (1, {"table": np.zeros(256, np.int32)}, r"must be int16 \(256,\)"),
        (1, {"table": np.full(256, 128, np.int16)}, "must lie in -128 to 127"),
        (1, {"function": "swish"}, "swish"),
        (2, {"output": QuantTensor(np.float32(0), 0)}, "scale is 0.0"),
        (2, {"output": QuantTensor(np.float32(np.nan), 0)}, "scale is nan"),
        (2, {"output": QuantTensor(np.float32(1), 200)}, "must lie in -128 to 127"),
        (2, {"output": QuantTensor(np.float32(1), 0, 5, 4)}, "must lie in"),
        (2, {"output": QuantTensor(np.float32(1), 0, 0, 65535)}, "must lie in -32768 to 32767"),
    ],
)
def test_a_malformed_node_is_refused_by_name(
    index: int, fields: dict[str, Any], found: str
) -> None:
    with pytest.raises(InputError, match=found):
        changed(chain(), index, **fields)


def test_float_layers_are_no_part_of_a_quantised_policy() -> None:
    policy = chain()
    node = QuantNode("layer2", dense(np.random.default_rng(0), 3, 5), ("layer1",), INT8)  # type: ignore[arg-type]
    with pytest.raises(QuantizationError, match="Dense with such parameters is not an operation"):
        replace(policy, nodes=(*policy.nodes[:2], node))


def test_the_network_must_end_where_the_actions_begin() -> None:
    policy = chain()
    with pytest.raises(QuantizationError, match=r"ends with shape \(5,\)"):
        replace(policy, nodes=policy.nodes[:2])
    with pytest.raises(QuantizationError, match="no layers"):
        replace(policy, nodes=())


@pytest.mark.parametrize(
    ("inv_scale", "zero_point", "found"),
    [
        (np.ones(3, np.float32), np.zeros(4, np.int32), "must be"),
        (np.ones(4), np.zeros(4, np.int32), "float64"),
        (np.ones(4, np.float32), np.zeros(4, np.int64), "int64"),
        (np.array([1, 0, 1, 1], np.float32), np.zeros(4, np.int32), "feature 1: 1 / scale is 0.0"),
        (np.array([1, 1, np.inf, 1], np.float32), np.zeros(4, np.int32), "feature 2"),
        (
            np.ones(4, np.float32),
            np.array([0, 0, 0, 2**22], np.int32),
            "feature 3: the zero point is 4,194,304",
        ),
        (
            np.ones(4, np.float32),
            np.array([-(2**31), 0, 0, 0], np.int32),
            "feature 0: the zero point is",
        ),
        (np.zeros(0, np.float32), np.zeros(0, np.int32), "must be"),
    ],
)
def test_a_malformed_observation_quantiser_is_refused(
    inv_scale: Any, zero_point: Any, found: str
) -> None:
    policy = chain()
    with pytest.raises(QuantizationError, match=found):
        replace(
            policy,
            observation=ObservationQuantizer(inv_scale, zero_point, policy.observation.tensor),
        )


def test_a_flatten_keeps_its_tensor() -> None:
    builder = Builder(np.random.default_rng(0), (4, 4, 2), QuantTensor(np.float32(1 / 255), -128))
    builder.window("conv", 3, (3, 3), (1, 1), ((0, 0), (0, 0)), INT8)
    builder.flatten()
    builder.dense(2, INT8)
    policy = builder.build()
    policy = replace(
        policy,
        observation=ObservationQuantizer(
            np.zeros(0, np.float32), np.zeros(0, np.int32), policy.observation.tensor
        ),
    )
    assert isinstance(policy.nodes[0].op, QuantConv2D)
    assert isinstance(policy.nodes[1].op, Flatten)
    with pytest.raises(QuantizationError, match="different scale"):
        changed(policy, 1, output=replace(INT8, zero_point=9))


def test_observations_are_quantised_as_the_golden_vectors_say() -> None:
    for x, inv_scale, zero_point, qmin, qmax, expected in rows("observe.txt"):
        value, factor = np.array([int(x, 16), int(inv_scale, 16)], np.uint32).view(np.float32)
        quantizer = ObservationQuantizer(
            np.array([factor]),
            np.array([int(zero_point)], np.int32),
            QuantTensor(np.float32(1), 0, int(qmin), int(qmax)),
        )
        assert quantizer.quantize(np.array([[value]])).tolist() == [[int(expected)]], (
            x,
            inv_scale,
            zero_point,
            qmin,
            qmax,
        )


def test_nan_means_the_zero_point_and_infinity_saturates() -> None:
    quantizer = ObservationQuantizer(
        np.full(4, 3.0, np.float32),
        np.array([5, -7, 1_000_000, -1_000_000], np.int32),
        QuantTensor(np.float32(1), 0),
    )
    obs = np.array([[np.nan] * 4, [np.inf] * 4, [-np.inf] * 4], np.float32)
    assert quantizer.quantize(obs).tolist() == [[5, -7, 127, -128], [127] * 4, [-128] * 4]


@pytest.mark.filterwarnings("error")
def test_huge_observations_saturate_silently() -> None:
    quantizer = ObservationQuantizer(
        np.full(2, 1e10, np.float32), np.zeros(2, np.int32), QuantTensor(np.float32(1), 0)
    )
    assert quantizer.quantize(np.array([[3e38, -3e38], [1e300, -1e300]])).tolist() == [
        [127, -128],
        [127, -128],
    ]


def test_pixels_are_what_xor_0x80_makes_of_them() -> None:
    quantizer = ObservationQuantizer(
        np.zeros(0, np.float32), np.zeros(0, np.int32), QuantTensor(np.float32(1 / 255), -128)
    )
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(quantizer.quantize(every), (every ^ 0x80).view(np.int8))


def test_parameter_bytes_are_counted_as_c_stores_them() -> None:
    assert (
        chain().parameter_bytes
        == 4 * 4 + 4 * 4 + 5 * 4 + 5 * 4 + 5 * 4 + 256 + 3 * 5 + 3 * 4 + 3 * 4
    )


def test_names_of_tensors_are_nodes_with_integers() -> None:
    policy = one_layer([[1]], [0], [1.0], None, SYMMETRIC)
    assert policy.tensor(INPUT) == SYMMETRIC
    for name in ("head", "nowhere"):
        with pytest.raises(KeyError):
            policy.tensor(name)


@pytest.mark.parametrize("bad", [(2**31, 0, 1), (-(2**31), 0, 1), (0, -(10**30), 1), (0, 0, 2**40)])
def test_a_tensors_integers_fit_int32_before_anything_is_computed_with_them(
    bad: tuple[int, int, int],
) -> None:
    with pytest.raises(QuantizationError, match="must lie in int32"):
        QuantTensor(np.float32(1), *bad)
