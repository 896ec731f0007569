#include "ql_kernels_mve.h"

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)
#include <arm_mve.h>

/* As ql_store_s8, four results at a time; VCVTN rounds half-even whatever FPSCR says. */
void ql_store_s8_mve(const ql_range *range, int32_t first, int32_t count, const int32_t *acc, void *out)
{
    const float *multiplier = &range->multiplier[first];
    int8_t *results = (int8_t *)out + first;
    int32x4_t low = vdupq_n_s32(range->qmin);
    int32x4_t high = vdupq_n_s32(range->qmax);
    for (int32_t left = count; left > 0; left -= 4) {
        mve_pred16_t inside = vctp32q((uint32_t)left);
        float32x4_t product = vmulq_f32(vcvtq_f32_s32(vldrwq_z_s32(acc, inside)), vldrwq_z_f32(multiplier, inside));
        int32x4_t rounded = vaddq_n_s32(vcvtnq_s32_f32(product), range->zero_point);
        vstrbq_p_s32(results, vminq_s32(vmaxq_s32(rounded, low), high), inside);
        acc += 4;
        multiplier += 4;
        results += 4;
    }
}

#elif defined(__arm__)
#error "quarl: this core's MVE is switched off in the compiler; turn it on, or export for a board without it"
#else

void ql_store_s8_mve(const ql_range *range, int32_t first, int32_t count, const int32_t *acc, void *out)
{
    ql_store_s8(range, first, count, acc, out);
}

#endif
