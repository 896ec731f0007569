"""Packed rows: which weights a halfword holds, into which parts inputs are split, and that the sums
are exact at their bounds, on the host and on cores with SMLAD.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarl.firmware.lower import lower
from quarl.firmware.packed_rows import (
    BLOCK,
    CHUNK,
    GROUP,
    HIGH_BOUND,
    STEP,
    PackedRows,
    pack_rows,
)
from quarl.graph.quant_policy import QuantDense, QuantPolicy, QuantTensor
from quarl.runtimes.host import NumpyRuntime
from tests.conftest import need
from tests.support.core_build import on_a_core
from tests.support.host_build import filter_outputs
from tests.support.random_policies import Builder

INT8 = QuantTensor(np.float32(0.03), 0)


def dense_op(weights: np.ndarray, bits: int = 8) -> QuantDense:  # type: ignore[type-arg]
    rows = len(weights)
    ones = np.full(rows, 0.01, np.float32)
    return QuantDense(weights.astype(np.int8), np.zeros(rows, np.int32), ones, ones, bits)


def sums(packed: PackedRows, x: np.ndarray, rows: int, bits: int) -> np.ndarray:  # type: ignore[type-arg]
    """Return what a kernel makes of packed rows: by SMLAD in 32 bits, as an M4 does."""
    groups = -(-rows // GROUP)
    if bits == 2:
        return sums_of_turned_words(packed, x, groups)[:rows]
    words = 2 if bits == 8 else 1  # halfwords of a group for one input
    out = np.zeros((groups, GROUP), np.int64)
    at, first = 0, 0
    while first < groups:
        chunk = min(CHUNK // GROUP, groups - first)
        for start in range(0, packed.steps, packed.part):
            steps = min(packed.part, packed.steps - start)
            size = steps * STEP * words + 2 * GROUP
            for group in range(first, first + chunk):
                block = packed.halfwords[at : at + size].astype(np.int64)
                at += size
                bias, body = (block[:8], block[8:]) if bits == 8 else (block[-8:], block[:-8])
                out[group] += bias.astype(np.int16).view(np.int32)
                values = x[start * STEP : (start + steps) * STEP].reshape(-1, STEP)
                values = values[:, [0, 2, 1, 3]].reshape(-1, 2).astype(np.int64)
                out[group] += unpacked(body.reshape(-1, words, 2), values, bits)
        first += chunk
    assert at == len(packed.halfwords)
    return out.ravel()[:rows]


def sums_of_turned_words(packed: PackedRows, x: np.ndarray, groups: int) -> np.ndarray:  # type: ignore[type-arg]
    """Return the same of 2-bit weights, block by block."""
    body = packed.halfwords.reshape(groups, 2 * GROUP + 2 * packed.steps)
    out = np.ascontiguousarray(body[:, : 2 * GROUP]).view(np.int32).astype(np.int64)
    words = np.ascontiguousarray(body[:, 2 * GROUP :]).view(np.uint32).astype(np.int64)
    values = x.astype(np.int64).reshape(-1, STEP)[:, [0, 2, 1, 3]]
    for at in range(packed.steps - BLOCK * (packed.blocks - 1) - BLOCK, packed.steps, BLOCK):
        block = slice(max(at, 0), at + BLOCK)
        for group in range(groups):
            for pair in (0, 1):
                total = 2**13 - values[block].sum()
                for turn, first in ((4 * pair, 0), (4 * pair + 8, 2)):
                    seen = (words[group, block] >> turn | words[group, block] << (32 - turn)) & (
                        0xC003C003
                    )
                    halves = np.stack([seen & 0xFFFF, seen >> 16], axis=1)
                    halves = halves.astype(np.uint16).view(np.int16).astype(np.int64)
                    total += (halves * values[block, first : first + 2]).sum()
                total = int(np.int64(total).astype(np.int32))
                out[group, 2 * pair] += total >> 14
                out[group, 2 * pair + 1] += (total & 0x3FFF) - 2**13
    return out.ravel()


def high_of(total: np.int64, low: np.int64) -> int:
    """Return (S - B) >> 8 of two registers."""
    return int(np.int64(total - low).astype(np.int32) >> 8)


def unpacked(body: np.ndarray, values: np.ndarray, bits: int) -> list[int]:  # type: ignore[type-arg]
    if bits == 8:
        made = []
        for pair in (0, 1):
            low = (body[:, pair].astype(np.int8) * values).sum()
            made += [high_of((body[:, pair] * values).sum(), low), int(low)]
        return made
    halves, nibbles = body[:, 0] & 0xFFFF, body[:, 0] & 0x0F0F
    total, cd = (body[:, 0] * values).sum(), ((halves & 255) * values).sum()
    n, d = (nibbles * values).sum(), ((nibbles & 15) * values).sum()
    b, shift = high_of(n, d), 8 * values.sum()
    a = high_of(total - n + d, cd) >> 4
    return [a, int(b - shift), int(((cd - d) >> 4) - shift), int(d - shift)]


@pytest.mark.parametrize("bits", [8, 4, 2])
@given(data=st.data())
def test_the_sums_of_packed_rows_are_those_of_the_weights(bits: int, data: st.DataObject) -> None:
    rows, inputs = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 150))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    most = 2 ** (bits - 1) - 1
    weights = rng.integers(-most, most + 1, (rows, inputs))
    bias = rng.integers(-(2**20), 2**20, rows).astype(np.int32)
    packed = pack_rows(dense_op(weights, bits), bias, (-128, 127))
    assert packed is not None
    assert packed.bits == bits
    x = np.zeros(packed.steps * STEP, np.int64)
    x[:] = rng.integers(-128, 128, len(x))  # what stands behind the inputs is multiplied by zero
    expected = bias + weights @ x[:inputs]
    np.testing.assert_array_equal(sums(packed, x, rows, bits), expected)


@pytest.mark.parametrize(
    ("rows", "fits"),
    [
        ([[-128], [0]], True),  # 256 * -128 is an int16
        ([[-128], [-1]], False),
        ([[-1], [-128]], True),
        ([[-128], [-128]], False),
        ([[-127], [-128]], True),
        ([[127], [127]], True),
    ],
)
def test_a_halfword_holds_minus_128_beside_what_is_not_negative(
    rows: list[list[int]], fits: bool
) -> None:
    packed = pack_rows(dense_op(np.array(rows)), np.zeros(2, np.int32), (-128, 127))
    assert (packed is not None) is fits


@pytest.mark.parametrize(
    ("inputs", "largest", "parts"),
    [(512, 128, 1), (516, 128, 1), (520, 128, 2), (1600, 128, 4), (60, 2048, 2), (4, 2**15, None)],
)
def test_inputs_are_split_so_that_the_high_byte_has_its_sum(
    inputs: int, largest: int, parts: int | None
) -> None:
    """512 * 127 * 128 < 2^23 < 520 * 127 * 128."""
    packed = pack_rows(
        dense_op(np.full((4, inputs), 127)), np.zeros(4, np.int32), (-largest, largest)
    )
    if parts is None:
        assert packed is None
        return
    assert packed is not None
    assert -(-packed.steps // packed.part) == parts
    assert packed.part * STEP * 127 * largest < HIGH_BOUND + STEP * 127 * largest


def test_a_high_nibble_has_its_sum_where_the_low_one_takes_half_of_it() -> None:
    """16 * -1 + 8 is -8: 5,000 such bytes and their low nibbles stay within 2^23, 16 A does not."""
    weights = np.tile([[-1], [0], [7], [7]], 5000)
    packed = pack_rows(dense_op(weights, 4), np.zeros(4, np.int32), (-128, 127))
    assert packed is not None
    x = np.full(5000, -128, np.int64)
    np.testing.assert_array_equal(sums(packed, x, 4, 4), weights @ x)


@pytest.mark.parametrize("sign", [1, -1])
@given(data=st.data())
def test_inputs_of_one_sign_let_weights_of_both_signs_cancel(
    sign: int, data: st.DataObject
) -> None:
    """Behind a ReLU a sum goes up by its positive weights alone: wider inputs need no more parts,
    and the sums stay exact at both ends.
    """
    inputs = data.draw(st.integers(1, 300))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    weights = rng.integers(-127, 128, (4, inputs))
    span = (0, 4095) if sign > 0 else (-4095, 0)
    packed = pack_rows(dense_op(weights), np.zeros(4, np.int32), span)
    assert packed is not None
    either = pack_rows(dense_op(weights), np.zeros(4, np.int32), (-4095, 4095))
    assert either is not None
    assert packed.part >= either.part
    for which in (weights[0] > 0, weights[0] < 0, weights[2] > 0, np.full(inputs, True)):
        x = np.zeros(packed.steps * STEP, np.int64)
        x[:inputs] = sign * 4095 * which
        np.testing.assert_array_equal(sums(packed, x, 4, 8), weights @ x[:inputs])


@pytest.mark.parametrize(
    ("low", "span", "bits"),
    [
        (1, (-128, 127), 2),  # 64 * -128 is the least that 14 bits hold
        (-1, (-128, 127), 4),  # 64 * 128 is one more than the most
        (-1, (-127, 127), 2),
        (1, (-128, 255), 4),  # a wider input
        (0, (-(2**10), 2**10), 2),  # whose weights are few
    ],
)
def test_two_bits_are_stored_in_four_where_a_block_leaves_its_bounds(
    low: int, span: tuple[int, int], bits: int
) -> None:
    weights = np.zeros((2, 128))
    weights[1] = low
    packed = pack_rows(dense_op(weights, 2), np.zeros(2, np.int32), span)
    assert packed is not None
    assert packed.bits == bits


def at_its_bounds(weight: int, inputs: int = 1100, bits: int = 8) -> QuantPolicy:
    builder = Builder(np.random.default_rng(0), (inputs,), INT8)
    builder.dense(37, builder.output(zero_point=3), weight_bits=bits)
    policy = builder.build()
    node = policy.nodes[0]
    assert isinstance(node.op, QuantDense)
    weights = np.full_like(node.op.weights, weight)
    weights[1::2] = -weight if weight != -128 else weight  # the low rows pull the other way
    small = np.full_like(node.op.multiplier, 100 / (128 * abs(weight) * inputs))
    op = replace(node.op, weights=weights, multiplier=small)
    return replace(policy, nodes=(replace(node, op=op),))


def extremes(inputs: int) -> np.ndarray:  # type: ignore[type-arg]
    rng = np.random.default_rng(1)
    rows = [np.full(inputs, -128), np.full(inputs, 127), rng.choice([-128, 127], inputs)]
    return np.stack(rows).astype(np.int32)


@pytest.mark.every(2)
@pytest.mark.parametrize("cpu", ["cortex-m4", "cortex-m33"])
@pytest.mark.parametrize(
    ("weight", "bits"), [(127, 8), (-127, 8), (7, 4), (-7, 4), (1, 2), (-1, 2)]
)
def test_sums_at_their_bounds_are_exact_on_a_core(weight: int, bits: int, cpu: str) -> None:
    policy = at_its_bounds(weight, bits=bits)
    x = extremes(1100)
    for compiler in ("zig", "gcc"):
        made = on_a_core(policy, cpu, x, compiler)
        np.testing.assert_array_equal(made, NumpyRuntime(policy).run(x))


@pytest.mark.every(2)
@pytest.mark.parametrize("cpu", ["cortex-m3", "cortex-m0", "riscv32-imc", "cortex-m55"])
@pytest.mark.parametrize("weight", [1, -1])
def test_two_rows_in_one_sum_are_exact_at_their_bounds_without_smlad(weight: int, cpu: str) -> None:
    """1100 inputs: eight blocks of 128 and what is left of eight."""
    policy = at_its_bounds(weight, bits=2)
    x = extremes(1100)
    np.testing.assert_array_equal(on_a_core(policy, cpu, x), NumpyRuntime(policy).run(x))


def test_bytes_of_small_weights_whose_nibbles_are_large_have_exact_sums() -> None:
    """16 * -1 + 7 + 8 is -1, but its low nibble is 15: 4,600 of them leave 2^23 by themselves."""
    policy = at_its_bounds(7, 4600, bits=4)
    node = policy.nodes[0]
    assert isinstance(node.op, QuantDense)
    weights = np.tile(np.array([-1, 7, -7, 7], np.int8)[:, None], (10, 4600))[:37]
    policy = replace(policy, nodes=(replace(node, op=replace(node.op, weights=weights)),))
    x = extremes(4600)
    made = on_a_core(policy, "cortex-m4", x)
    np.testing.assert_array_equal(made, NumpyRuntime(policy).run(x))


def test_weights_that_do_not_fit_are_left_to_the_portable_kernel(tmp_path: Path) -> None:
    need("gcc")
    policy = at_its_bounds(-128, 60)
    program = lower(policy, "dsp")
    assert [call.kernel for call in program.calls] == ["ql_dense"]
    x = extremes(60)
    made = filter_outputs(program, tmp_path / "filter", (), x)
    np.testing.assert_array_equal(made, NumpyRuntime(policy).run(x))
