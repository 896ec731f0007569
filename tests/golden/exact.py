"""The rescale rule and the observation quantiser in exact rational arithmetic, float32 rounding
written out: no floating point at all.

The independent implementation behind the golden vectors
(toolchain/docs/decisions/0001-arithmetic.md). Slow and plain on purpose.
A float32 is given and returned as its 32 bits.
"""

from __future__ import annotations

from fractions import Fraction

MANTISSA_BITS = 24
LEAST_EXPONENT = -149  # of the last bit of a denormal
INFINITY = 0x7F800000
SIGN = 0x80000000


def is_nan(bits: int) -> bool:
    """Whether the bits are a NaN."""
    return bits & ~SIGN > INFINITY


def value(bits: int) -> Fraction:
    """Return the number a finite float32 stands for."""
    exponent, mantissa = (bits >> 23) & 0xFF, bits & 0x7FFFFF
    assert exponent != 0xFF
    magnitude = Fraction(mantissa + (1 << 23 if exponent else 0)) * Fraction(2) ** (
        max(exponent, 1) - 150
    )
    return -magnitude if bits & SIGN else magnitude


def round_half_even(number: Fraction) -> int:
    """Return the nearest integer, the even one of two equally near."""
    floor = number.numerator // number.denominator
    rest = number - floor
    return floor + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and floor % 2 == 1))


def to_float32(number: Fraction) -> int:
    """Return the bits of the nearest float32, half to even; infinity from half a step beyond the
    largest.
    """
    sign, magnitude = (SIGN if number < 0 else 0), abs(number)
    if magnitude == 0:
        return sign
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length() - MANTISSA_BITS
    while magnitude >= Fraction(2) ** (exponent + MANTISSA_BITS):
        exponent += 1
    while magnitude < Fraction(2) ** (exponent + MANTISSA_BITS - 1):
        exponent -= 1
    exponent = max(exponent, LEAST_EXPONENT)
    mantissa = round_half_even(magnitude / Fraction(2) ** exponent)
    if mantissa == 1 << MANTISSA_BITS:
        mantissa, exponent = mantissa >> 1, exponent + 1
    if mantissa < 1 << 23:
        return sign | mantissa  # a denormal, or 0
    biased = exponent + 150
    return sign | (INFINITY if biased >= 0xFF else biased << 23 | (mantissa & 0x7FFFFF))


def multiplier(in_scale: int, weight_scale: int, out_scale: int) -> int:
    """Return float32(float32(in_scale * weight_scale) / out_scale)."""
    product = to_float32(value(in_scale) * value(weight_scale))
    return to_float32(value(product) / value(out_scale))


def rescale(acc: int, multiplier_bits: int, zero_point: int, qmin: int, qmax: int) -> int:
    """Return clamp(round_half_even(float32(float32(acc) * multiplier)) + zero_point, qmin,
    qmax).
    """
    product = to_float32(value(to_float32(Fraction(acc))) * value(multiplier_bits))
    return min(max(round_half_even(value(product)) + zero_point, qmin), qmax)


def observe(x: int, inv_scale: int, zero_point: int, qmin: int, qmax: int) -> int:
    """Return clamp(round_half_even(float32(x * inv_scale)) + zero_point, qmin, qmax); NaN counts as
    0, infinity saturates.
    """
    if is_nan(x):
        steps = 0
    else:
        product = x if x & ~SIGN == INFINITY else to_float32(value(x) * value(inv_scale))
        if product & ~SIGN == INFINITY:
            return qmin if product & SIGN else qmax
        steps = round_half_even(value(product))
    return min(max(steps + zero_point, qmin), qmax)
