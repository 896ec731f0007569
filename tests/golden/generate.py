"""Writes the golden vectors: `python -m tests.golden.generate`. Seeded, and computed by
tests/golden/exact.py alone.
"""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

from tests.golden import exact

FOLDER = Path(__file__).parent
SEED = 20261122
RANGES = ((-128, 127), (0, 4095), (-2048, 2047), (-32768, 32767))
MADE = (
    f"# made by tests/golden/generate.py, seed {SEED}, in exact rational arithmetic "
    "(tests/golden/exact.py)\n"
)
RESCALE_HEADER = f"""\
# y = clamp(round_half_even(float32(float32(acc) * multiplier)) + zero_point, qmin, qmax)
{MADE}# acc  multiplier (bits of a float32, hexadecimal)  zero_point  qmin  qmax  y
"""
FACTOR_HEADER = f"""\
# multiplier = float32(float32(in_scale * weight_scale) / out_scale)
{MADE}# in_scale  weight_scale  out_scale  multiplier (bits of float32, hexadecimal)
"""
OBSERVE_HEADER = f"""\
# q = clamp(round_half_even(float32(x * inv_scale)) + zero_point, qmin, qmax); NaN counts as 0
{MADE}# x  inv_scale (bits of float32, hexadecimal)  zero_point  qmin  qmax  q
"""


def rescale_lines(rng: random.Random) -> list[str]:
    """Return lines of rescale.txt: accumulators at and around ties, beyond 2^24, at the limits of
    the arithmetic, and plain ones.
    """
    rows = []
    for index in range(1200):
        qmin, qmax = RANGES[0] if index % 3 else rng.choice(RANGES)
        zero_point = rng.choice([qmin, 0, rng.randint(qmin, qmax), qmax])
        mantissa = rng.choice(
            [
                rng.randrange(1 << 23, 1 << 24),
                1 << 23,
                rng.randrange(1 << 4, 1 << 5) << 19,
                (1 << 24) - 1,
            ]
        )
        shift = rng.randint(22, 53)  # multipliers from 2 down to 2^-30
        bits = exact.to_float32(Fraction(mantissa, 1 << shift))
        factor = exact.value(bits)
        limit = min(
            (1 << 31) - 1,
            int(Fraction(1 << 22) / factor) - 1,
            (1 << 24) - 1 if (qmin, qmax) != RANGES[0] else 1 << 31,
        )
        kind = index % 4
        if kind == 0:  # around a tie of the exact product
            tie = rng.randint(qmin - 3, qmax + 3) - zero_point + Fraction(1, 2)
            acc = exact.round_half_even(tie / factor) + rng.randint(-2, 2)
        elif kind == 1:  # large: int32 -> float32 rounds
            acc = rng.choice([-1, 1]) * rng.randint(limit // 2, limit)
        elif kind == 2:  # anywhere in the range
            acc = exact.round_half_even(
                Fraction(rng.randint(qmin, qmax) - zero_point) / factor
            ) + rng.randint(-50, 50)
        else:
            acc = rng.choice([0, 1, -1, limit, -limit, rng.randint(-limit, limit)])
        acc = min(max(acc, -limit), limit)
        rows.append(
            f"{acc} {bits:08x} {zero_point} {qmin} {qmax} "
            f"{exact.rescale(acc, bits, zero_point, qmin, qmax)}"
        )
    return rows


def factor_lines(rng: random.Random) -> list[str]:
    """Return lines of factor.txt: random scales, powers of two, and products that fall on float32
    ties.
    """
    rows = []
    for _ in range(300):
        scales = [
            exact.to_float32(
                Fraction(
                    rng.choice([rng.randrange(1 << 23, 1 << 24), 1 << 23, rng.randrange(3, 64)]),
                    1 << rng.randint(20, 34),
                )
            )
            for _ in range(3)
        ]
        rows.append(" ".join(f"{bits:08x}" for bits in (*scales, exact.multiplier(*scales))))
    return rows


def observe_lines(rng: random.Random) -> list[str]:
    """Return lines of observe.txt: ties and their neighbours, NaN, infinities, denormals, huge
    values, far zero points.
    """
    rows = []
    odd = [
        0,
        0x80000000,
        0x7F800000,
        0xFF800000,
        0x7FC00000,
        0xFFC12345,
        0x7F800001,
        1,
        0x80000001,
        0x007FFFFF,
        0x7F7FFFFF,
        0xFF7FFFFF,
    ]
    for index in range(900):
        qmin, qmax = RANGES[0] if index % 3 else rng.choice(RANGES)
        far = rng.choice([0, 200, 1 << 15, 1_000_000, (1 << 22) - 1])
        zero_point = rng.randint(-far, far)
        exponent = rng.randint(-20, 20)
        mantissa = rng.choice([rng.randrange(1 << 23, 1 << 24), 1 << 23])
        bits = exact.to_float32(Fraction(mantissa) * Fraction(2) ** (exponent - 23))
        kind = index % 4
        if kind == 0:
            x = rng.choice(odd)
        elif kind == 1:
            x = rng.getrandbits(32)
        else:  # around a tie
            tie = rng.randint(qmin - 2, qmax + 2) - zero_point + Fraction(1, 2)
            x = exact.to_float32(tie / exact.value(bits))
            x = (x + rng.randint(-1, 1)) & 0xFFFFFFFF
        rows.append(
            f"{x:08x} {bits:08x} {zero_point} {qmin} {qmax} "
            f"{exact.observe(x, bits, zero_point, qmin, qmax)}"
        )
    return rows


def files() -> dict[str, str]:
    """Return the golden files by name."""
    return {
        "rescale.txt": RESCALE_HEADER + "\n".join(rescale_lines(random.Random(SEED))) + "\n",
        "factor.txt": FACTOR_HEADER + "\n".join(factor_lines(random.Random(SEED + 1))) + "\n",
        "observe.txt": OBSERVE_HEADER + "\n".join(observe_lines(random.Random(SEED + 2))) + "\n",
    }


def rows(name: str) -> list[list[str]]:
    """Return the columns of each line of a golden file."""
    lines = (FOLDER / name).read_text(encoding="ascii").splitlines()
    return [line.split() for line in lines if not line.startswith("#")]


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="ascii")
