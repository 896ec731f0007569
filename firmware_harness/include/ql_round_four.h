/* SPDX-License-Identifier: Apache-2.0 */
/* The rescale rule (ql_rescale.h) for as many accumulators as the core rounds at once: four with an
 * FPU of Arm, else one. For results of any width that the rule is exact for. */
#ifndef QL_ROUND_FOUR_H
#define QL_ROUND_FOUR_H

#include "ql_rescale.h"

#if defined(QL_ROUNDS_IN_HARDWARE)
enum { QL_AT_ONCE = 4 };

/* Four rounded products: one list loads four accumulators, one four multipliers. */
static inline void ql_round_some(const int32_t *acc, const float *multiplier, int32_t *rounded)
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
#endif

#endif
