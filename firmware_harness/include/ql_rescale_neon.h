/* SPDX-License-Identifier: Apache-2.0 */
/* The rescale rule of ql_rescale.h with NEON, sixteen accumulators at a time. */
#ifndef QL_RESCALE_NEON_H
#define QL_RESCALE_NEON_H

#include "ql_kernels.h"

#include <arm_neon.h>

/* What all channels share. */
typedef struct {
    int16x8_t zero_point;
    int8x16_t low;
    int8x16_t high;
    int is_open; /* low and high are those of int8: saturating is enough */
} ql_limits_neon;

static inline ql_limits_neon ql_limits_of(const ql_requant *requant)
{
    ql_limits_neon limits = {vdupq_n_s16((int16_t)requant->zero_point),
                             vdupq_n_s8((int8_t)requant->qmin), vdupq_n_s8((int8_t)requant->qmax),
                             requant->qmin == INT8_MIN && requant->qmax == INT8_MAX};
    return limits;
}

/* Four results; FCVTNS rounds half-even whatever FPCR says. Saturating to int16 loses nothing: int8
 * is all that is left at the end. */
static inline int16x4_t ql_round_four(int32x4_t acc, float32x4_t multiplier)
{
    return vqmovn_s32(vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(acc), multiplier)));
}

/* `is_open` is a constant wherever this is inlined. */
__attribute__((always_inline)) static inline int8x16_t
ql_results_of(int32x4x4_t acc, float32x4x4_t multiplier, ql_limits_neon limits, const int is_open)
{
    int16x8_t front = vcombine_s16(ql_round_four(acc.val[0], multiplier.val[0]),
                                   ql_round_four(acc.val[1], multiplier.val[1]));
    int16x8_t back = vcombine_s16(ql_round_four(acc.val[2], multiplier.val[2]),
                                  ql_round_four(acc.val[3], multiplier.val[3]));
    int8x16_t results = vcombine_s8(vqmovn_s16(vqaddq_s16(front, limits.zero_point)),
                                    vqmovn_s16(vqaddq_s16(back, limits.zero_point)));
    return is_open ? results : vminq_s8(vmaxq_s8(results, limits.low), limits.high);
}

#endif
