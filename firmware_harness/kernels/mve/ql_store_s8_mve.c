/* SPDX-License-Identifier: Apache-2.0 */
/* Accumulators to int8 with Helium (decision 0001); contract: ql_kernels_mve.h. */
#include "ql_kernels_mve.h"
#include "ql_rescale.h"

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)
#include <arm_mve.h>

/* Four results take ten instructions; VCVTN rounds half-even whatever FPSCR says. The loop's lanes
 * are predicated by what is left. */
void ql_store_s8_mve(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                     void *out)
{
    const float *multiplier = &requant->multiplier[first];
    int8_t *results = (int8_t *)out + first;
    int32x4_t low = vdupq_n_s32(requant->qmin);
    int32x4_t high = vdupq_n_s32(requant->qmax);
    __asm__ volatile("dlstp.32 lr, %[count]\n\t"
                     "1:\n\t"
                     "vldrw.u32 q0, [%[acc]], #16\n\t"
                     "vldrw.u32 q1, [%[multiplier]], #16\n\t"
                     "vcvt.f32.s32 q0, q0\n\t"
                     "vmul.f32 q0, q0, q1\n\t"
                     "vcvtn.s32.f32 q0, q0\n\t"
                     "vadd.i32 q0, q0, %[zero_point]\n\t"
                     "vmax.s32 q0, q0, %q[low]\n\t"
                     "vmin.s32 q0, q0, %q[high]\n\t"
                     "vstrb.32 q0, [%[results]], #4\n\t"
                     "letp lr, 1b"
                     : [acc] "+r"(acc), [multiplier] "+r"(multiplier), [results] "+r"(results)
                     : [count] "r"(count), [zero_point] "r"(requant->zero_point), [low] "w"(low),
                       [high] "w"(high)
                     : "lr", "q0", "q1", "memory");
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
