"""Weights of 4 bits: which layers get them, how they are rounded, how they are stored, and what
they cost on a device.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.boards.microcontroller import find_board, read_boards
from quarl.bundle.policy_file import quant_policy_bytes, read_quant_policy_file
from quarl.bundle.release import open_bundle
from quarl.emitters import emit_onnx, emit_tflite
from quarl.errors import BudgetError, InputError, QuantizationError, UnsupportedError
from quarl.exporter.export import ExportRequest
from quarl.files.npz import npz_bytes, read_npz
from quarl.firmware.fit import check_fit
from quarl.firmware.lower import lower
from quarl.firmware.packing import folded_bias, row_bytes
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import (
    QuantDense,
    QuantDepthwiseConv2D,
    QuantPolicy,
    QuantTensor,
    QuantWeighted,
    weight_bits,
)
from quarl.graph.reference import integer_outputs, real_outputs
from quarl.profiles.emulated import profile_qemu, profile_unicorn
from quarl.quantize.calibration import calibrate
from quarl.quantize.error_report import QuantReport, quant_report
from quarl.quantize.ladder import LADDER
from quarl.quantize.quantizer import quantize, widths_of
from quarl.quantize.weight_rounding import round_nearest, round_to_data, weight_scales
from quarl.quantize.widths import largest_weight, widths_named
from quarl.resources import default_cache_dir, targets_dir
from quarl.runtimes.host import LitertRuntime, NumpyRuntime, OnnxRuntime
from tests.conftest import need
from tests.profiles.test_firmware_numbers import M0, M3, M4, board_with
from tests.support.random_policies import NO_PADDING, PIXELS, Builder, random_integers
from tests.support.samples import observations, sample
from tests.support.small_policies import cnn, mlp
from tests.support.workloads import workload_for

rng = np.random.default_rng
NARROW = 2**24
INT4_MAX = largest_weight(4)


def made(source: Policy, weights: str, rung: int = 3) -> QuantPolicy:
    obs = observations(source, rng(1), 200 if len(source.contract.observation.shape) == 1 else 40)
    return quantize(
        source,
        calibrate(obs, source.contract),
        LADDER[rung].settings.with_widths(widths_named(weights)),
        rung,
    )


def bits_of(policy: QuantPolicy) -> list[int]:
    return [weight_bits(node.op) for node in policy.nodes if isinstance(node.op, QuantWeighted)]


@pytest.mark.parametrize(
    ("weights", "bits"),
    [("int8", [8, 8, 8, 8]), ("int4", [8, 4, 4, 8]), ("int4-all", [4, 4, 4, 4])],
)
def test_the_first_and_the_last_layer_keep_8_bits_unless_all_are_asked_for(
    weights: str, bits: list[int]
) -> None:
    policy = made(mlp(rng(0), (6, 24, 24, 24, 4)), weights)
    assert bits_of(policy) == bits
    for node, narrow in zip(
        [n for n in policy.nodes if isinstance(n.op, QuantWeighted)], bits, strict=True
    ):
        assert isinstance(node.op, QuantDense)
        assert (np.abs(node.op.weights).max() <= INT4_MAX) == (narrow == 4)
    report = quant_report(
        mlp(rng(0), (6, 24, 24, 24, 4)),
        policy,
        observations(mlp(rng(0), (6, 24, 24, 24, 4)), rng(2), 50),
    )
    assert [layer.weight_bits for layer in report.layers] == bits


def test_depthwise_layers_keep_8_bits() -> None:
    policy = made(cnn(rng(0)), "int4-all")
    depthwise = [n.op for n in policy.nodes if isinstance(n.op, QuantDepthwiseConv2D)]
    assert all(weight_bits(op) == 8 for op in depthwise)
    assert 4 in bits_of(policy)


def test_a_policy_without_inner_layers_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        UnsupportedError,
        match=r"--weights int4: there is no dense or convolution layer between.*int4-all",
    ):
        made(mlp(rng(0), (6, 16, 4)), "int4")
    assert bits_of(made(mlp(rng(0), (6, 16, 4)), "int4-all")) == [4, 4]


@pytest.mark.parametrize(("weights", "per_byte"), [("int4", 2), ("int3", 2), ("int2", 4)])
def test_several_weights_take_one_byte(weights: str, per_byte: int) -> None:
    source = mlp(rng(0), (6, 32, 32, 4))
    int8, narrow = made(source, "int8"), made(source, weights)
    saved = 32 * 32 - 32 * 32 // per_byte
    assert int8.parameter_bytes - narrow.parameter_bytes == saved
    for kernels in ("portable", "mve", "rv32"):
        assert lower(int8, kernels).table_bytes - lower(narrow, kernels).table_bytes == saved


def test_following_the_data_gains_much_with_4_bits() -> None:
    random = rng(3)
    weights = random.normal(0, 1, (32, 48))
    mixed = random.normal(0, 1, (2000, 6)) @ random.normal(0, 1, (6, 48)) + random.normal(
        0, 0.05, (2000, 48)
    )
    covariance = np.cov(mixed.T, bias=True)
    scale = weight_scales(weights, np.zeros(32), np.float32(1), NARROW, INT4_MAX)
    errors = []
    for rounded in (
        round_nearest(weights, scale, INT4_MAX),
        round_to_data(weights, scale, covariance, INT4_MAX),
    ):
        difference = weights - rounded * scale[:, None].astype(np.float64)
        assert np.abs(rounded).max() <= INT4_MAX
        errors.append(float(((difference @ covariance) * difference).sum()))
    assert errors[1] < errors[0] / 4


def test_decisions_survive_4_bits_better_the_higher_the_rung() -> None:
    source = mlp(rng(5), (8, 64, 64, 64, 4))
    obs = observations(source, rng(6), 400)
    exact = source.outputs(obs)
    noise = []
    for rung in (0, 3):
        policy = made(source, "int4", rung)
        real = real_outputs(policy, integer_outputs(policy, obs))
        centred = [values - values.mean(axis=1, keepdims=True) for values in (exact, real)]
        noise.append(float(np.square(centred[0] - centred[1]).mean()))
    assert noise[1] < noise[0] / 2


def int4_images(random: np.random.Generator) -> QuantPolicy:
    builder = Builder(random, (9, 8, 3), PIXELS)
    builder.window("conv", 7, (3, 2), (2, 1), ((1, 0), (0, 1)), builder.output(), 4)
    builder.window("conv", 33, (2, 2), (1, 1), NO_PADDING, builder.output(zero_point=-128), 4)
    builder.flatten()
    builder.dense(35, builder.output(), weight_bits=4)
    builder.dense(5, None, weight_bits=4)
    return builder.build()


def test_every_runtime_gives_the_same_outputs() -> None:
    policy = int4_images(rng(0))
    integers = random_integers(policy, rng(1), 200)
    expected = NumpyRuntime(policy).run(integers)
    np.testing.assert_array_equal(LitertRuntime(emit_tflite(policy)).run(integers), expected)
    np.testing.assert_array_equal(OnnxRuntime(emit_onnx(policy)).run(integers), expected)


def test_a_file_keeps_the_bits_and_one_without_them_has_8(tmp_path: Path) -> None:
    policy = made(mlp(rng(0), (6, 24, 24, 4)), "int4")
    path = tmp_path / "policy.npz"
    path.write_bytes(quant_policy_bytes(policy))
    assert bits_of(read_quant_policy_file(path)) == [8, 4, 8]
    path.write_bytes(quant_policy_bytes(made(mlp(rng(0), (6, 24, 24, 4)), "int8")))
    assert b"weight_bits" not in path.read_bytes()
    assert bits_of(read_quant_policy_file(path)) == [8, 8, 8]


@pytest.mark.parametrize("value", [8, 4.0, 1, 9, 3, True, None, "4", [4]])
def test_other_bits_in_a_file_are_refused(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "policy.npz"
    path.write_bytes(quant_policy_bytes(made(mlp(rng(0), (6, 24, 24, 4)), "int4")))
    arrays = read_npz(path)
    document = arrays.pop("document").tobytes().decode()
    assert '"weight_bits": 4' in document
    changed = json.loads(document)
    next(node for node in changed["nodes"] if "weight_bits" in node)["weight_bits"] = value
    text = np.frombuffer(json.dumps(changed).encode(), np.uint8)
    path.write_bytes(npz_bytes({"document": text, **arrays}, compress=False))
    with pytest.raises(InputError):
        read_quant_policy_file(path)


def test_weights_beyond_their_bits_are_refused_by_name() -> None:
    policy = made(mlp(rng(0), (6, 24, 24, 4)), "int4")
    nodes = list(policy.nodes)
    assert isinstance(nodes[1].op, QuantDense)
    weights = nodes[1].op.weights.copy()
    weights[3, 5] = -8
    nodes[1] = replace(nodes[1], op=replace(nodes[1].op, weights=weights))
    with pytest.raises(
        QuantizationError,
        match=r"dense1: has 4-bit weights from -8 to \d: of 2 to 7 bits they are at most",
    ):
        replace(policy, nodes=tuple(nodes))


def test_every_four_weights_come_back_from_their_byte() -> None:
    weights = np.array(list(product((-1, 0, 1), repeat=4)), np.int8).T
    fours = row_bytes(weights, 2)[0].astype(int)
    ends = [((fours & mask) ^ sign) - sign for mask, sign in ((3, 2), (15, 8), (63, 32))]
    rows = [(fours - ends[2]) // 64, (ends[2] - ends[1]) // 16, (ends[1] - ends[0]) // 4, ends[0]]
    np.testing.assert_array_equal(np.stack(rows), weights)


def test_every_pair_of_weights_comes_back_from_its_byte() -> None:
    first, second = np.meshgrid(np.arange(-7, 8), np.arange(-7, 8))
    rows = np.stack([first.ravel(), second.ravel()]).astype(np.int8)
    pairs = row_bytes(rows, 4)[0].astype(int)
    low = ((pairs & 15) ^ 8) - 8
    np.testing.assert_array_equal(low, second.ravel())
    np.testing.assert_array_equal((pairs - low) // 16, first.ravel())


def test_sums_that_the_kernels_cannot_carry_are_refused_by_name() -> None:
    op = QuantDense(
        np.full((2, 4), 7, np.int8),
        np.array([0, 2**26], np.int32),
        np.ones(2, np.float32),
        np.ones(2, np.float32),
        4,
    )
    with pytest.raises(
        QuantizationError, match=r"head, channel 1: .* less than 67,108,864.*int8 weights"
    ):
        folded_bias("head", op, QuantTensor(np.float32(1), 0))
    folded_bias(
        "head", replace(op, bias=np.array([0, 2**25], np.int32)), QuantTensor(np.float32(1), 0)
    )


def test_the_nature_network_fits_a_part_of_1_mb_with_int4_weights_only() -> None:
    board, others = find_board("nrf52840_dk", targets_dir()), read_boards(targets_dir()).values()
    assert board.flash.bytes == 1 << 20
    with pytest.raises(
        BudgetError,
        match=r"the board has 1,048,576 B.*with --weights int4 it would fit nrf52840_dk too",
    ):
        check_fit(lower(sample("nature", 0)[1], "dsp"), board, others)
    check_fit(lower(sample("nature", 0, weights="int4")[1], "dsp"), board, others)


def test_a_bundle_says_what_its_weights_are(tmp_path: Path) -> None:
    from quarl.pipeline import export, import_source

    source = import_source("cartpole_ppo")
    bundle = export(source, tmp_path / "out", ExportRequest(rung=3, widths=widths_named("int4")))
    assert bundle.manifest.weights == "int4"
    assert open_bundle(tmp_path / "out").manifest.weights == "int4"
    assert widths_of(bundle.quantized) == widths_named("int4")
    report = QuantReport.from_json(bundle.file("quantization.json").decode())
    assert [layer.weight_bits for layer in report.layers if layer.weight_bits] == [8, 4, 8]
    integers = replace(source, policy=bundle.quantized)
    with pytest.raises(
        InputError,
        match=r"weights int4: policy\.zip holds integers already.*omit the option",
    ):
        export(
            integers,
            tmp_path / "other",
            ExportRequest(
                widths=widths_named("int4"),
                calibration=source.file.parent / "calibration.npz",
            ),
        )


@pytest.mark.parametrize(
    ("name", "core", "most_instructions"),
    [
        ("mlp", M4, 12_500),
        ("mlp256", M4, 115_000),
        ("nature", M4, 11_000_000),
        ("mlp256", M3, 330_000),
        ("mlp256", M0, 470_000),
    ],
)
def test_an_inference_with_int4_weights_stays_within_its_instructions(
    name: str, core: Any, most_instructions: int
) -> None:
    policy, quantized = sample(name, 0, weights="int4")
    profile = profile_unicorn(
        workload_for(quantized, observations(policy, rng(3), 2), board_with(core)),
        board_with(core),
        default_cache_dir(),
    )
    assert profile.differing == 0
    assert profile.instructions <= most_instructions
    if name == "nature":
        assert profile.flash_bytes < 900_000


@pytest.mark.parametrize(("name", "most"), [("mlp", 3_500), ("nature", 2_050_000)])
def test_helium_takes_int4_weights_without_unpacking_the_first_of_a_pair(
    name: str, most: int
) -> None:
    need("qemu-system-arm", "gcc", "ziglang", "elftools", "capstone")
    policy, quantized = sample(name, 0, weights="int4")
    profile = profile_qemu(
        workload_for(
            quantized, observations(policy, rng(3), 2), find_board("mps3_an547", targets_dir())
        ),
        find_board("mps3_an547", targets_dir()),
        default_cache_dir(),
    )
    assert profile.differing == 0
    assert profile.instructions <= most
