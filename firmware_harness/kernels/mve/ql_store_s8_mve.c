/* SPDX-License-Identifier: Apache-2.0 */
/* Accumulators to int8 with Helium (decision 0001); contract: ql_kernels_mve.h. */
#include "ql_kernels_mve.h"
#include "ql_rescale.h"

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)
#include <arm_mve.h>

/* As ql_store_s8, four results at a time; VCVTN rounds half-even whatever FPSCR says. */
void ql_store_s8_mve(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                     void *out)
{
    const float *multiplier = &requant->multiplier[first];
    int8_t *results = (int8_t *)out + first;
    int32x4_t low = vdupq_n_s32(requant->qmin);
    int32x4_t high = vdupq_n_s32(requant->qmax);
    for (int32_t left = count; left > 0; left -= 4) {
        mve_pred16_t inside = vctp32q((uint32_t)left);
        float32x4_t product =
            vmulq_f32(vcvtq_f32_s32(vldrwq_z_s32(acc, inside)), vldrwq_z_f32(multiplier, inside));
        int32x4_t rounded = vaddq_n_s32(vcvtnq_s32_f32(product), requant->zero_point);
        vstrbq_p_s32(results, vminq_s32(vmaxq_s32(rounded, low), high), inside);
        acc += 4;
        multiplier += 4;
        results += 4;
    }
}

#elif defined(__arm__)
#error "quarl: MVE is off in this compiler; turn it on, or export for a board without it"
#else

void ql_store_s8_mve(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
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
