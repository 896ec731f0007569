/* SPDX-License-Identifier: Apache-2.0 */
/* The one rescale rule: round_half_even((float)acc * multiplier), each step rounded to float32, for
 * |acc * multiplier| < 2^22.
 *
 * Three forms, equal bit for bit (toolchain/docs/decisions/0001-arithmetic.md):
 *   vcvtr    Arm cores with an FPU. Follows the rounding mode of FPSCR, which is half-even after
 * reset and must stay so. magic    other floating-point hardware. Must be compiled with
 * -ffp-contract=off: a fused multiply-add rounds once, not twice. integer  cores without an FPU, or
 * with QL_RESCALE_INTEGER defined. Multiplies the 24-bit significand and replays the float
 * roundings exactly where they could matter, near ties.
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
#elif !defined(QL_RESCALE_INTEGER) && defined(__riscv) && !defined(__riscv_flen)
#define QL_RESCALE_INTEGER 1
#endif

static inline int32_t ql_clamp(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : (value > high ? high : value);
}

static inline int32_t ql_clamp_s8(int32_t value)
{
#if defined(__ARM_FEATURE_SAT) && \
    __ARM_ARCH_ISA_THUMB == 2 /* clang claims it for Armv8-M Baseline too */
    int32_t result;
    __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(value));
    return result;
#else
    return ql_clamp(value, -128, 127);
#endif
}

#if defined(__arm__) && !defined(QL_RESCALE_INTEGER)
#define QL_ROUNDS_IN_HARDWARE 1

/* To the nearest integer, half to even, by the mode FPSCR has after reset; saturates; NaN becomes
 * 0. */
static inline int32_t ql_vcvtr(float value)
{
    int32_t result;
    __asm__("vcvtr.s32.f32 %1, %1\n\tvmov %0, %1" : "=r"(result), "+t"(value));
    return result;
}
#endif

#if !defined(QL_RESCALE_INTEGER)

static inline int32_t ql_round_product(int32_t acc, float multiplier)
{
    float product = (float)acc * multiplier;
#if defined(QL_ROUNDS_IN_HARDWARE)
    return ql_vcvtr(product);
#else
    int32_t bits;
    product += 12582912.0f; /* 1.5 * 2^23: the sum's last bit is 1, so the addition rounds half-even
                               to an integer */
    (void)memcpy(&bits, &product, sizeof bits);
    return bits - 0x4B400000;
#endif
}

static inline int32_t ql_round_product_wide(int32_t acc, float multiplier)
{
    return ql_round_product(acc, multiplier);
}

#else

/* For results clamped to int8: exact below 2^9, beyond it of the right sign and at least 2^9 - 1.
 */
int32_t ql_round_product(int32_t acc, float multiplier);
/* For wider results: exact below 2^22. */
int32_t ql_round_product_wide(int32_t acc, float multiplier);

#endif
#endif
