/* SPDX-License-Identifier: Apache-2.0 */
/* Accumulators to int8 with NEON (decision 0001); contract: ql_kernels_neon.h. */
#include "ql_kernels_neon.h"
#include "ql_rescale.h"

#if defined(__aarch64__)
#include "ql_rescale_neon.h"

/* Whole vectors of results, as many as `count` holds; returns how many results that are. */
__attribute__((always_inline)) static inline int32_t
store_vectors(const float *multiplier, ql_limits_neon limits, int32_t count, const int32_t *acc,
              int8_t *results, const int is_open)
{
    int32_t done = 0;
#pragma GCC unroll 1
    for (; done + 16 <= count; done += 16) {
        vst1q_s8(results,
                 ql_results_of(vld1q_s32_x4(acc), vld1q_f32_x4(multiplier), limits, is_open));
        acc += 16;
        multiplier += 16;
        results += 16;
    }
    return done;
}

/* As ql_store_s8, sixteen results at a time; reads whole vectors of acc and of the padded
 * multipliers. */
void ql_store_s8_neon(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                      void *out)
{
    const float *multiplier = &requant->multiplier[first];
    int8_t *results = (int8_t *)out + first;
    const ql_limits_neon limits = ql_limits_of(requant);
    int32_t done = limits.is_open ? store_vectors(multiplier, limits, count, acc, results, 1)
                                  : store_vectors(multiplier, limits, count, acc, results, 0);
    if (done < count) {
        int8_t last[16];
        vst1q_s8(last, ql_results_of(vld1q_s32_x4(&acc[done]), vld1q_f32_x4(&multiplier[done]),
                                     limits, 0));
        for (int32_t i = done; i < count; i++) {
            results[i] = last[i - done];
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
