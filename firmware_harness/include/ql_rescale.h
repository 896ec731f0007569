/* The one rescale rule: round_half_even((float)acc * multiplier), each step rounded to float32, for |acc * multiplier| < 2^22.
 *
 * Three forms, equal bit for bit (toolchain/docs/decisions/0001-arithmetic.md):
 *   vcvtr    Arm cores with an FPU. Follows the rounding mode of FPSCR, which is half-even after reset and must stay so.
 *   magic    other floating-point hardware. Must be compiled with -ffp-contract=off: a fused multiply-add rounds once, not twice.
 *   integer  cores without an FPU, or with QL_RESCALE_INTEGER defined. Multiplies the 24-bit significand and replays the
 *            float roundings exactly where they could matter, near ties.
 */
#ifndef QL_RESCALE_H
#define QL_RESCALE_H

#include <stdint.h>
#include <string.h>

#if defined(__FAST_MATH__)
#error "quarl: -ffast-math changes results; compile with -ffp-contract=off and without -ffast-math"
#endif

#if !defined(QL_RESCALE_INTEGER) && defined(__arm__) && !(defined(__ARM_FP) && (__ARM_FP & 4))
#define QL_RESCALE_INTEGER 1
#endif

static inline int32_t ql_clamp(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : (value > high ? high : value);
}

static inline int32_t ql_clamp_s8(int32_t value)
{
#if defined(__ARM_FEATURE_SAT)
    int32_t result;
    __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(value));
    return result;
#else
    return ql_clamp(value, -128, 127);
#endif
}

#if !defined(QL_RESCALE_INTEGER)

static inline int32_t ql_round_product(int32_t acc, float multiplier)
{
    float product = (float)acc * multiplier;
#if defined(__arm__)
    int32_t result;
    __asm__("vcvtr.s32.f32 %1, %1\n\tvmov %0, %1" : "=r"(result), "+t"(product));
    return result;
#else
    int32_t bits;
    product += 12582912.0f; /* 1.5 * 2^23: the sum's last bit is 1, so the addition rounds half-even to an integer */
    (void)memcpy(&bits, &product, sizeof bits);
    return bits - 0x4B400000;
#endif
}

static inline int32_t ql_round_product_wide(int32_t acc, float multiplier)
{
    return ql_round_product(acc, multiplier);
}

#else

/* Exact: |acc| rounded to 24 bits, times 24 bits, rounded to 24 bits, shifted right, each half-even. 1 <= shift <= 62. */
int32_t ql_round_product_exact(uint32_t magnitude, uint32_t significand, int32_t shift);

static inline uint32_t ql_high_word(uint32_t a, uint32_t b)
{
#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB == 1
    /* no long multiply: four of 16 bits */
    uint32_t low = (a & 0xFFFFU) * (b & 0xFFFFU);
    uint32_t first = (a >> 16) * (b & 0xFFFFU) + (low >> 16); /* a < 2^31: no carry is lost */
    __asm__("" : "+l"(first)); /* or clang sees a long multiply here and calls one */
    uint32_t second = (a & 0xFFFFU) * (b >> 16) + (first & 0xFFFFU);
    return (a >> 16) * (b >> 16) + (first >> 16) + (second >> 16);
#else
    return (uint32_t)(((uint64_t)a * b) >> 32);
#endif
}

/* For results clamped to int8: exact below 2^9, beyond it of the right sign and at least 2^9 - 1. */
static inline int32_t ql_round_product(int32_t acc, float multiplier)
{
    uint32_t bits;
    (void)memcpy(&bits, &multiplier, sizeof bits);
    uint32_t sign = (uint32_t)(acc >> 31); /* arithmetic shift: all ones if negative */
    uint32_t magnitude = ((uint32_t)acc ^ sign) - sign;
    uint32_t significand = (bits << 8) | 0x80000000U; /* 24 bits, at the top; multiplier = significand * 2^(exponent - 158) */
    int32_t shift = 126 - (int32_t)(bits >> 23);      /* product = high word of magnitude * significand, >> shift */
    uint32_t result;
    if (shift > 30) {
        return 0; /* below 2^31 * 2^-32 */
    }
    uint32_t high = ql_high_word(magnitude, significand);
    uint32_t half = 1U << ((uint32_t)shift & 31U) >> 1;
    /* The float roundings move a product below 2^9 by less than 2^-14. */
    uint32_t near = (half >> 13) + 1U;
    if (shift < 1 || ((high - half + near) & (half + half - 1U)) <= near + near) {
        result = (uint32_t)ql_round_product_exact(magnitude, significand >> 8, shift + 24);
    } else {
        result = (high + half) >> (uint32_t)shift;
    }
    return (int32_t)((result ^ sign) - sign);
}

/* For wider results: exact below 2^22. */
static inline int32_t ql_round_product_wide(int32_t acc, float multiplier)
{
    uint32_t bits;
    (void)memcpy(&bits, &multiplier, sizeof bits);
    uint32_t magnitude = acc < 0 ? 0U - (uint32_t)acc : (uint32_t)acc;
    int32_t shift = 150 - (int32_t)(bits >> 23);
    if (shift > 54) {
        return 0;
    }
    int32_t result = ql_round_product_exact(magnitude, (bits & 0x7FFFFFU) | 0x800000U, shift);
    return acc < 0 ? -result : result;
}

#endif
#endif
