"""Lowering for Armv8-A: where weights lie, which layers these kernels take, and that their int16
sums cannot overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarl.firmware.input_order import MOST, input_orders
from quarl.firmware.linux import program_inputs
from quarl.firmware.lower import lower
from quarl.firmware.neon import NeonKernels, dense_weights, tile_weights, wide_steps
from quarl.graph.quant_policy import QuantConv2D, QuantDense, QuantPolicy, QuantTensor
from quarl.graph.reference import integer_outputs
from quarl.resources import default_cache_dir
from quarl.runtimes.host import NumpyRuntime
from tests.conftest import need
from tests.support.linux_programs import (
    ask,
    build_linux_program,
    build_linux_sources,
    build_natively,
)
from tests.support.random_policies import Builder, random_integers, wide_tensor
from tests.support.samples import observations, sample


def numbered(rows: int, inputs: int) -> np.ndarray:  # type: ignore[type-arg]
    return (np.arange(rows * inputs).reshape(rows, inputs) % 251 - 125).astype(np.int8)


def test_a_vector_of_a_dense_layer_holds_four_inputs_of_four_rows() -> None:
    weights = numbered(4, 8)
    a, b, c, d = weights[:, :4]
    pairs = np.concatenate([*(row[:2] for row in (a, b, c, d)), *(row[2:] for row in (a, b, c, d))])
    np.testing.assert_array_equal(dense_weights(weights, "neon")[:16], pairs)
    np.testing.assert_array_equal(dense_weights(weights, "dot")[:16], np.concatenate([a, b, c, d]))


@pytest.mark.parametrize(
    ("rows", "blocks"),
    [(4, [4]), (5, [4, 4]), (61, [64]), (60, [16, 16, 16, 4, 4, 4]), (84, [64, 16, 4]), (13, [16])],
)
def test_rows_stand_in_blocks_that_the_kernel_chooses_alike(rows: int, blocks: list[int]) -> None:
    """ql_neon_rows: 64 if more than 60 are left, 16 if more than 12, else 4."""
    weights = dense_weights(numbered(rows, 4), "dot")
    assert len(weights) == sum(blocks) * 4
    starts = np.cumsum([0, *blocks[:-1]])
    for first, block in zip(starts, blocks, strict=True):
        np.testing.assert_array_equal(weights[first * 4 : first * 4 + 4], numbered(rows, 4)[first])
        assert block in (64, 16, 4)


@pytest.mark.parametrize("kernels", ["neon", "dot"])
@pytest.mark.parametrize(("rows", "inputs"), [(1, 1), (5, 17), (64, 256), (100, 33)])
def test_no_weight_is_lost_and_the_rest_is_zero(
    rows: int, inputs: int, kernels: NeonKernels
) -> None:
    weights = np.where(numbered(rows, inputs) == 0, np.int8(1), numbered(rows, inputs))
    for made in (dense_weights(weights, kernels), tile_weights(weights, kernels)):
        found = np.sort(made[made != 0], axis=None)
        np.testing.assert_array_equal(found, np.sort(weights, axis=None))


def test_a_step_is_wide_where_four_products_of_a_lane_do_not_fit_int16() -> None:
    """Inputs 0, 8, 16 and 24 of a step of 32 share a lane: 255 * 128 < 2^15, 256 * 128 is not."""
    rows = np.zeros((4, 96), np.int8)
    rows[2, [0, 8, 16, 24]] = 64, -64, 64, 63
    rows[3, [39, 47, 55, 63]] = 64, -64, 64, 64
    np.testing.assert_array_equal(wide_steps(rows), [[0, 1, 0]])


@given(
    st.integers(1, 130), st.sampled_from([(1, 200), (16, 60), (70, 30), (600, 20)]), st.integers(0)
)
@settings(max_examples=30, deadline=None)
def test_an_order_keeps_every_input_and_its_fours_fit(
    inputs: int, shape: tuple[int, int], seed: int
) -> None:
    count, spread = shape
    rng = np.random.default_rng(seed)
    weights = np.clip(rng.normal(0, spread, (count, inputs)), -127, 127).astype(np.int8)
    found = input_orders(weights)
    if found is None:
        return
    rows, orders = found
    assert len(orders) == -(-count // rows)
    padded = np.pad(np.abs(weights.astype(int)), ((0, 0), (0, -inputs % 8)))
    for at, order in enumerate(orders):
        columns = order.columns(inputs)
        assert sorted(columns) == list(range(padded.shape[1]))
        own = padded[at * rows : (at + 1) * rows, columns][:, : order.fitting]
        assert own.reshape(len(own), -1, 4, 2).sum(axis=2).max(initial=0) <= MOST


def test_256_rows_of_256_normal_weights_are_all_added_by_four() -> None:
    """Of neighbours two lanes in a hundred would not fit, and of 64 rows nearly every step."""
    rows, orders = input_orders(sample("mlp_24_256_256_4", 0)[1].nodes[1].op.weights) or (0, [])
    assert rows == 128
    assert [order.fitting for order in orders] == [256, 256]


def kernels_of(policy: QuantPolicy, kernels: NeonKernels) -> list[str]:
    return [call.kernel for call in lower(policy, kernels).calls]


def dense_policy(
    change: Callable[[QuantDense], QuantDense] = lambda op: op, tensor: QuantTensor | None = None
) -> QuantPolicy:
    builder = Builder(np.random.default_rng(0), (256,), tensor or QuantTensor(np.float32(0.03), 3))
    builder.dense(70, None)
    policy = builder.build()
    node = policy.nodes[0]
    assert isinstance(node.op, QuantDense)
    return replace(policy, nodes=(replace(node, op=change(node.op)),))


def with_weight(value: int) -> Callable[[QuantDense], QuantDense]:
    return lambda op: replace(op, weights=np.full_like(op.weights, value))


def test_a_weight_of_minus_128_is_left_to_the_portable_kernel_where_its_sums_would_overflow() -> (
    None
):
    assert kernels_of(dense_policy(with_weight(-127)), "neon") == ["ql_dense_neon"]
    assert kernels_of(dense_policy(with_weight(-128)), "neon") == ["ql_dense"]
    assert kernels_of(dense_policy(with_weight(-128)), "dot") == ["ql_dense_dot"]


def test_wide_inputs_are_left_to_the_portable_kernel() -> None:
    wide = dense_policy(tensor=wide_tensor(12))
    assert kernels_of(wide, "neon") == kernels_of(wide, "dot") == ["ql_dense"]


@pytest.mark.parametrize(("channels", "pad", "in_place"), [(8, 0, 1), (4, 0, 0), (8, 1, 0)])
def test_windows_are_read_in_place_where_their_lines_are_whole_steps(
    channels: int, pad: int, in_place: int
) -> None:
    builder = Builder(
        np.random.default_rng(0), (9, 9, channels), QuantTensor(np.float32(1 / 255), -128)
    )
    builder.window("conv", 6, (4, 4), (2, 2), ((pad, pad), (pad, pad)), builder.output())
    builder.flatten()
    builder.dense(3, None)
    policy = builder.build()
    assert isinstance(policy.nodes[0].op, QuantConv2D)
    call = lower(policy, "dot").calls[0]
    assert call.kernel == "ql_conv2d_neon"
    assert call.descriptor is not None
    assert dict(call.descriptor.value.fields)["is_in_place"] == in_place


def with_fours(most: int) -> Callable[[QuantDense], QuantDense]:
    """Return what makes every four weights of one sign sum to `most` in magnitude."""
    fours = np.array([most - 3 * (most // 4), *[most // 4] * 3], np.int8)
    signs = np.where(np.arange(70) % 2, -1, 1)[:, None]
    return lambda op: replace(op, weights=(signs * np.tile(fours, 64)).astype(np.int8))


@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a76"])
@pytest.mark.parametrize("integer", [-128, 127])
@pytest.mark.parametrize(
    "change", [with_weight(127), with_weight(-127), with_fours(255), with_fours(256)]
)
def test_the_largest_products_of_a_layer_do_not_overflow(
    core: str, change: Callable[[QuantDense], QuantDense], integer: int
) -> None:
    need("ziglang", "qemu-aarch64")
    policy = dense_policy(change)
    inputs = np.full((2, 256), integer, np.int32)
    path = build_linux_sources(
        lower(policy, "dot" if core == "cortex-a76" else "neon"), core, default_cache_dir()
    )
    done = ask(path, ["--run"], inputs.astype(np.int8).tobytes(), core)
    assert done.returncode == 0, done.stderr
    assert done.stdout == NumpyRuntime(policy).run(inputs).tobytes()


@pytest.mark.parametrize(
    ("core", "channels", "kernel", "stride", "pad"),
    [
        ("cortex-a53", 4, 8, 4, 0),
        ("cortex-a53", 16, 4, 2, 0),
        ("cortex-a53", 40, 2, 1, 1),
        ("cortex-a76", 16, 4, 2, 0),
    ],
)
def test_windows_of_every_kind_give_the_reference_outputs(
    core: str, channels: int, kernel: int, stride: int, pad: int
) -> None:
    """A line that is one step, several, or none; with weights of which some steps are wide."""
    need("ziglang", "qemu-aarch64")
    rng = np.random.default_rng(channels)
    size = 4 * stride + kernel - 2 * pad
    builder = Builder(rng, (size, size, channels), QuantTensor(np.float32(1 / 255), -128))
    both = ((pad, pad), (pad, pad))
    builder.window("conv", 70, (kernel, kernel), (stride, stride), both, builder.output())
    builder.flatten()
    builder.dense(3, None)
    policy = builder.build()
    node = policy.nodes[0]
    assert isinstance(node.op, QuantConv2D)
    some = rng.random(node.op.weights.shape) < 0.3
    small = np.where(some, node.op.weights, node.op.weights // 4).astype(np.int8)
    policy = replace(
        policy, nodes=(replace(node, op=replace(node.op, weights=small)), *policy.nodes[1:])
    )
    wide = wide_steps(small.reshape(70, -1))
    assert wide.any()
    assert not wide.all()
    integers = random_integers(policy, rng, 3)
    path = build_linux_sources(
        lower(policy, "dot" if core == "cortex-a76" else "neon"), core, default_cache_dir()
    )
    done = ask(path, ["--run"], integers.astype(np.int8).tobytes(), core)
    assert done.returncode == 0, done.stderr
    assert done.stdout == NumpyRuntime(policy).run(integers).tobytes()


def test_no_multiply_add_is_fused() -> None:
    """A fused multiply-add rounds once where the rule rounds twice; the compiler must never make
    one.
    """
    need("ziglang", "elftools", "capstone")
    from capstone import CS_ARCH_ARM64, CS_MODE_ARM, Cs  # type: ignore[import-untyped]
    from elftools.elf.elffile import ELFFile

    policy, quantized = sample("branches", 4)
    program = build_linux_program(
        quantized,
        observations(policy, np.random.default_rng(5), 1),
        "cortex-a72",
        default_cache_dir(),
    )
    with program.open("rb") as file:
        elf = ELFFile(file)
        segments = [
            (s["p_vaddr"], s.data()) for s in elf.iter_segments() if s["p_type"] == "PT_LOAD"
        ]
        functions = [
            s
            for s in elf.get_section_by_name(".symtab").iter_symbols()
            if s.name.startswith("ql_") and s["st_info"]["type"] == "STT_FUNC"
        ]
        mnemonics = set()
        for function in functions:
            address, size = function["st_value"], function["st_size"]
            code = next(
                data[address - start :][:size]
                for start, data in segments
                if start <= address < start + len(data)
            )
            mnemonics |= {
                instruction.mnemonic
                for instruction in Cs(CS_ARCH_ARM64, CS_MODE_ARM).disasm(code, address)
            }
    assert {"fmul", "fcvtns", "sadalp"} <= mnemonics
    assert not [
        m for m in mnemonics if m.startswith(("fmadd", "fmsub", "fnmadd", "fnmsub", "fmla", "fmls"))
    ]


@pytest.mark.parametrize("core", ["cortex-a72", "cortex-a76"])
def test_weights_of_four_bits_are_weights_like_others(core: str) -> None:
    need("ziglang", "qemu-aarch64")
    policy, quantized = sample("stacked_frames", 0, weights="int4")
    obs = observations(policy, np.random.default_rng(5), 20)
    path = build_linux_program(quantized, obs, core, default_cache_dir())
    done = ask(path, ["--run"], program_inputs(quantized, obs), core)
    assert done.stdout == integer_outputs(quantized, obs).tobytes()


@pytest.mark.parametrize("kernels", ["neon", "dot"])
def test_without_neon_the_same_layouts_give_the_same_outputs(
    kernels: NeonKernels, tmp_path: Path
) -> None:
    """Built for this machine under sanitizers: an input that is reordered, few rows, tiles."""
    for name in ("mlp_24_256_256_4", "stacked_frames"):
        policy, quantized = sample(name, 0)
        obs = observations(policy, np.random.default_rng(5), 5)
        path = build_natively(lower(quantized, kernels), tmp_path / name)
        done = ask(path, ["--run"], program_inputs(quantized, obs))
        assert done.returncode == 0, done.stderr
        assert done.stdout == integer_outputs(quantized, obs).tobytes()
