/* SPDX-License-Identifier: Apache-2.0 */
/* Accumulators to int8 with NEON (decision 0001); contract: ql_kernels_neon.h. */
#include "ql_kernels_neon.h"
#include "ql_rescale.h"

#if defined(__aarch64__)
#include <arm_neon.h>

/* Four results; FCVTNS rounds half-even whatever FPCR says. Saturating to int16 loses nothing: int8
 * is all that is left at the end. */
static inline int16x4_t round_four(int32x4_t acc, float32x4_t multiplier)
{
    return vqmovn_s32(vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(acc), multiplier)));
}

static inline int8x16_t round_sixteen(const int32_t *acc, const float *multiplier,
                                      int16x8_t zero_point)
{
    int32x4x4_t sums = vld1q_s32_x4(acc);
    float32x4x4_t factors = vld1q_f32_x4(multiplier);
    int16x8_t front = vcombine_s16(round_four(sums.val[0], factors.val[0]),
                                   round_four(sums.val[1], factors.val[1]));
    int16x8_t back = vcombine_s16(round_four(sums.val[2], factors.val[2]),
                                  round_four(sums.val[3], factors.val[3]));
    return vcombine_s8(vqmovn_s16(vqaddq_s16(front, zero_point)),
                       vqmovn_s16(vqaddq_s16(back, zero_point)));
}

/* As ql_store_s8, sixteen results at a time; reads whole vectors of acc and of the padded
 * multipliers. */
void ql_store_s8_neon(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                      void *out)
{
    const float *multiplier = &requant->multiplier[first];
    int8_t *results = (int8_t *)out + first;
    const int16x8_t zero_point = vdupq_n_s16((int16_t)requant->zero_point);
    const int8x16_t low = vdupq_n_s8((int8_t)requant->qmin);
    const int8x16_t high = vdupq_n_s8((int8_t)requant->qmax);
#pragma GCC unroll 4
    for (; count >= 16; count -= 16) {
        vst1q_s8(results,
                 vminq_s8(vmaxq_s8(round_sixteen(acc, multiplier, zero_point), low), high));
        acc += 16;
        multiplier += 16;
        results += 16;
    }
    if (count > 0) {
        int8_t last[16];
        vst1q_s8(last, vminq_s8(vmaxq_s8(round_sixteen(acc, multiplier, zero_point), low), high));
        for (int32_t i = 0; i < count; i++) {
            results[i] = last[i];
        }
    }
}

#else

void ql_store_s8_neon(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                      void *out)
{
    const float *multiplier = &requant->multiplier[first];
    int8_t *results = (int8_t *)out + first;
    for (int32_t i = 0; i < count; i++) {
        int32_t rounded = ql_round_product(acc[i], multiplier[i]) + requant->zero_point;
        results[i] = (int8_t)ql_clamp(rounded, requant->qmin, requant->qmax);
    }
}

#endif
