/* SPDX-License-Identifier: Apache-2.0 */
/* Accumulators of a tile to int8 with NEON (decision 0001); contract: ql_kernels_neon.h. */
/* needs: ql_store_s8_neon */
#include "ql_kernels_neon.h"

#if defined(__aarch64__)
#include "ql_rescale_neon.h"

/* Sixteen channels of `pixels` pixels, a constant wherever this is inlined: their multipliers are
 * loaded once. */
__attribute__((always_inline)) static inline void
store_sixteen(const float *multiplier, ql_limits_neon limits, const int32_t *acc,
              const int32_t pixels, int32_t pixel_len, int8_t *results, const int is_open)
{
    const float32x4x4_t factors = vld1q_f32_x4(multiplier);
#pragma GCC unroll 4
    for (int32_t p = 0; p < pixels; p++) {
        int32x4x4_t sums = vld1q_s32_x4(&acc[p * QL_TILE_ROWS]);
        vst1q_s8(&results[p * pixel_len], ql_results_of(sums, factors, limits, is_open));
    }
}

void ql_store_tile_s8_neon(const ql_requant *requant, int32_t first, int32_t count,
                           const int32_t *acc, int32_t pixels, int32_t pixel_len, void *out)
{
    int8_t *results = (int8_t *)out + first;
    const float *multiplier = &requant->multiplier[first];
    const ql_limits_neon limits = ql_limits_of(requant);
    int32_t done = 0;
    for (; pixels == QL_TILE_PIXELS && done + 16 <= count; done += 16) {
        if (limits.is_open) {
            store_sixteen(&multiplier[done], limits, &acc[done], QL_TILE_PIXELS, pixel_len,
                          &results[done], 1);
        } else {
            store_sixteen(&multiplier[done], limits, &acc[done], QL_TILE_PIXELS, pixel_len,
                          &results[done], 0);
        }
    }
    for (int32_t p = 0; p < pixels && done < count; p++) {
        ql_store_s8_neon(requant, first + done, count - done, &acc[p * QL_TILE_ROWS + done],
                         (int8_t *)out + p * pixel_len);
    }
}

#else

void ql_store_tile_s8_neon(const ql_requant *requant, int32_t first, int32_t count,
                           const int32_t *acc, int32_t pixels, int32_t pixel_len, void *out)
{
    for (int32_t p = 0; p < pixels; p++) {
        ql_store_s8_neon(requant, first, count, &acc[p * QL_TILE_ROWS],
                         (int8_t *)out + p * pixel_len);
    }
}

#endif
