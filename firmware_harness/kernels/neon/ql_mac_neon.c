#include "ql_kernels_neon.h"

#if defined(__aarch64__)
#include <arm_neon.h>

/* One block of 4 * vectors rows; vectors is a constant wherever this is inlined. Returns where the next block's weights begin. */
__attribute__((always_inline)) static inline const int8_t *block(const int8_t *weights, const int32_t *bias, const int8_t *spread, int32_t groups,
                                                                 int32_t *acc, const int32_t vectors)
{
    int32x4_t sums[16];
#pragma GCC unroll 16
    for (int32_t v = 0; v < vectors; v++) {
        sums[v] = vld1q_s32(&bias[4 * v]);
    }
#pragma GCC unroll 4
    for (; groups > 0; groups--) {
        int8x16_t x = vld1q_s8(spread);
        spread += 16;
#pragma GCC unroll 4
        for (int32_t v = 0; v + 3 < vectors; v += 4) {
            int8x16x4_t four = vld1q_s8_x4(weights);
            weights += 64;
#pragma GCC unroll 4
            for (int32_t i = 0; i < 4; i++) {
                int16x8_t products = vmlal_high_s8(vmull_s8(vget_low_s8(four.val[i]), vget_low_s8(x)), four.val[i], x);
                sums[v + i] = vpadalq_s16(sums[v + i], products);
            }
        }
        if (vectors == 1) {
            int8x16_t one = vld1q_s8(weights);
            weights += 16;
            sums[0] = vpadalq_s16(sums[0], vmlal_high_s8(vmull_s8(vget_low_s8(one), vget_low_s8(x)), one, x));
        }
    }
#pragma GCC unroll 16
    for (int32_t v = 0; v < vectors; v++) {
        vst1q_s32(&acc[4 * v], sums[v]);
    }
    return weights;
}

void ql_mac_neon(const int8_t *weights, const int32_t *bias, const int8_t *spread, int32_t groups, int32_t rows, int32_t *acc)
{
    for (int32_t row = 0; row < rows;) {
        int32_t count = ql_neon_rows(rows - row);
        if (count == 64) {
            weights = block(weights, &bias[row], spread, groups, &acc[row], 16);
        } else if (count == 16) {
            weights = block(weights, &bias[row], spread, groups, &acc[row], 4);
        } else {
            weights = block(weights, &bias[row], spread, groups, &acc[row], 1);
        }
        row += count;
    }
}

#else

void ql_mac_neon(const int8_t *weights, const int32_t *bias, const int8_t *spread, int32_t groups, int32_t rows, int32_t *acc)
{
    for (int32_t first = 0; first < rows;) {
        int32_t count = ql_neon_rows(rows - first);
        for (int32_t row = first; row < first + count; row++) {
            const int8_t *own = &weights[(row - first) / 4 * 16 + (row - first) % 4 * 2];
            int32_t sum = bias[row];
            for (int32_t group = 0; group < groups; group++) {
                for (int32_t i = 0; i < 4; i++) { /* two in the vector's first half, two in its second */
                    sum += own[group * count * 4 + i / 2 * 8 + i % 2] * spread[group * 16 + i / 2 * 8 + i % 2];
                }
            }
            acc[row] = sum;
        }
        weights += count * groups * 4;
        first += count;
    }
}

#endif
