/* SPDX-License-Identifier: Apache-2.0 */
/* Accumulators to int8 (decision 0001); contract: ql_kernels.h. */
/* needs without an FPU: ql_round_product */
#include "ql_kernels.h"
#include "ql_rescale.h"

#if defined(QL_ROUNDS_IN_HARDWARE)
enum { AT_ONCE = 4 };

/* Four rounded products: one list loads four accumulators, one four multipliers. */
static inline void round_some(const int32_t *acc, const float *multiplier, int32_t *rounded)
{
    __asm__("vldm %4, {s0-s3}\n\t"
            "vldm %5, {s4-s7}\n\t"
            "vcvt.f32.s32 s0, s0\n\t"
            "vcvt.f32.s32 s1, s1\n\t"
            "vcvt.f32.s32 s2, s2\n\t"
            "vcvt.f32.s32 s3, s3\n\t"
            "vmul.f32 s0, s0, s4\n\t"
            "vmul.f32 s1, s1, s5\n\t"
            "vmul.f32 s2, s2, s6\n\t"
            "vmul.f32 s3, s3, s7\n\t"
            "vcvtr.s32.f32 s0, s0\n\t" /* half to even, by the mode after reset */
            "vcvtr.s32.f32 s1, s1\n\t"
            "vcvtr.s32.f32 s2, s2\n\t"
            "vcvtr.s32.f32 s3, s3\n\t"
            "vmov %0, %1, s0, s1\n\t"
            "vmov %2, %3, s2, s3"
            : "=&r"(rounded[0]), "=&r"(rounded[1]), "=&r"(rounded[2]), "=&r"(rounded[3])
            : "r"(acc), "r"(multiplier)
            : "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "memory");
}
#else
enum { AT_ONCE = 1 };

static inline void round_some(const int32_t *acc, const float *multiplier, int32_t *rounded)
{
    rounded[0] = ql_round_product(acc[0], multiplier[0]);
}
#endif

void ql_store_s8(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                 void *out)
{
    const float *multiplier = &requant->multiplier[first];
    int8_t *results = (int8_t *)out + first;
    int32_t zero_point = requant->zero_point;
    if (requant->qmin == -128 && requant->qmax == 127) { /* nearly always; SSAT does it */
        for (; count >= AT_ONCE; count -= AT_ONCE) {
            int32_t rounded[AT_ONCE];
            round_some(acc, multiplier, rounded);
#pragma GCC unroll 4
            for (int32_t i = 0; i < AT_ONCE; i++) {
                results[i] = (int8_t)ql_clamp_s8(rounded[i] + zero_point);
            }
            acc += AT_ONCE;
            multiplier += AT_ONCE;
            results += AT_ONCE;
        }
    }
    for (int32_t i = 0; i < count; i++) {
        int32_t rounded = ql_round_product(acc[i], multiplier[i]) + zero_point;
        results[i] = (int8_t)ql_clamp(rounded, requant->qmin, requant->qmax);
    }
}
