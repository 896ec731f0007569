"""The one rule, against golden vectors made in exact rational arithmetic."""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from quarl.graph.rescale import rescale, rescale_factor
from tests.golden import exact
from tests.golden.generate import FOLDER, files, rows


def float32s(column: list[str]) -> NDArray[np.float32]:
    return np.array([int(bits, 16) for bits in column], np.uint32).view(np.float32)


def bits_of(number: np.float32 | float) -> int:
    return int(np.float32(number).view(np.uint32))


@pytest.mark.parametrize("name", list(files()))
def test_golden_files_are_what_their_generator_writes(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="ascii") == files()[name]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_the_exact_arithmetic_reads_and_writes_float32(number: float) -> None:
    (bits,) = struct.unpack("<I", struct.pack("<f", number))
    assert exact.value(bits) == Fraction(number)
    assert exact.to_float32(Fraction(number)) in (bits, bits & 0x7FFFFFFF)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_exact_arithmetic_rounds_to_float32_as_the_processor_does(number: float) -> None:
    with np.errstate(over="ignore"):
        assert (
            exact.to_float32(Fraction(number)) & 0x7FFFFFFF
            == bits_of(np.float64(number).astype(np.float32)) & 0x7FFFFFFF
        )


def test_multipliers_equal_the_golden_ones_bit_for_bit() -> None:
    columns = [float32s(list(column)) for column in zip(*rows("factor.txt"), strict=True)]
    for in_scale, weight_scale, out_scale, expected in zip(*columns, strict=True):
        assert rescale_factor(in_scale, np.array([weight_scale]), out_scale)[0] == expected


def test_rescaled_integers_equal_the_golden_ones() -> None:
    table = rows("rescale.txt")
    for row in table:
        acc, (zero_point, qmin, qmax, expected) = int(row[0]), map(int, row[2:])
        multiplier = float32s([row[1]])
        for dtype in (
            (np.int32, np.int64, np.float64)
            if abs(acc) >= 2**24
            else (np.int32, np.int64, np.float32, np.float64)
        ):
            assert rescale(
                np.array([[acc]], dtype), multiplier, zero_point, qmin, qmax
            ).tolist() == [[expected]], row


def test_golden_vectors_tell_the_rule_from_the_usual_mistakes() -> None:
    """Else they would prove little: a double product, half-up rounding, or a zero point added
    before rounding must fail on them.
    """
    columns = list(zip(*rows("rescale.txt"), strict=True))
    acc, multiplier = np.array([int(a) for a in columns[0]]), float32s(list(columns[1]))
    zero_point, qmin, qmax, expected = (
        np.array([int(v) for v in column]) for column in columns[2:]
    )
    double = np.clip(np.rint(acc * multiplier.astype(np.float64)) + zero_point, qmin, qmax)
    half_up = np.clip(
        np.floor((acc.astype(np.float32) * multiplier).astype(np.float64) + 0.5) + zero_point,
        qmin,
        qmax,
    )
    shifted = np.clip(
        np.rint(acc.astype(np.float32) * multiplier + zero_point.astype(np.float64)), qmin, qmax
    )
    for wrong in (double, half_up, shifted):
        assert (wrong != expected).sum() >= 3


@given(
    st.integers(-(2**31) + 1, 2**31 - 1),
    st.integers(1 << 23, (1 << 24) - 1),
    st.integers(22, 53),
    st.sampled_from([(-128, 127), (0, 4095), (-32768, 32767)]),
    st.floats(0, 1),
)
def test_the_rule_is_exact_everywhere_within_the_limits(
    acc: int, mantissa: int, shift: int, bounds: tuple[int, int], where: float
) -> None:
    multiplier = np.float32(mantissa * 2.0**-shift)
    limit = min(2**31 - 1, int(2**22 / float(multiplier)) - 1)
    acc = min(max(acc, -limit), limit)
    qmin, qmax = bounds
    zero_point = qmin + int(where * (qmax - qmin))
    expected = exact.rescale(acc, bits_of(multiplier), zero_point, qmin, qmax)
    assert (
        rescale(np.array([acc], np.int32), np.array([multiplier]), zero_point, qmin, qmax)[0]
        == expected
    )


def test_multipliers_round_twice_from_left_to_right() -> None:
    """Another order of the same product gives another multiplier often enough to matter."""
    rng = np.random.default_rng(0)
    a, w, o = (np.exp2(rng.uniform(-12, 3, 20_000)).astype(np.float32) for _ in range(3))
    made = np.concatenate(
        [rescale_factor(x, np.array([y]), z) for x, y, z in zip(a, w, o, strict=True)]
    )
    np.testing.assert_array_equal(made, (a * w).astype(np.float32) / o)
    assert (made != (w / o).astype(np.float32) * a).mean() > 0.1


def test_inputs_are_not_changed() -> None:
    acc = np.array([[1.5e6, -3.0]], np.float32)
    kept = acc.copy()
    rescale(acc, np.array([0.25, 0.5], np.float32), 3, -128, 127)
    np.testing.assert_array_equal(acc, kept)
