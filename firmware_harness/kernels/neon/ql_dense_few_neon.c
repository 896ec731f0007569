/* SPDX-License-Identifier: Apache-2.0 */
/* Fully connected layer of few rows with NEON (decision 0001); contract: ql_kernels_neon.h. */
#include "ql_kernels_neon.h"

#include <string.h>

#if defined(__aarch64__)
#include <arm_neon.h>

/* Sixteen products, two in each int16. */
static inline int16x8_t by_two(int8x16_t w, int8x16_t x)
{
    return vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x);
}

/* Sixteen more. */
static inline int16x8_t by_four(int16x8_t products, int8x16_t w, int8x16_t x)
{
    return vmlal_high_s8(vmlal_s8(products, vget_low_s8(w), vget_low_s8(x)), w, x);
}

/* Four rows by 32 inputs a step, as they lie. */
static void four_rows(const int8_t *weights, const int8_t *is_wide, const int32_t *bias,
                      const int8_t *in, int32_t steps, int32_t *acc)
{
    int32x4_t sums[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
    for (int32_t at = 0; at < steps; at++) {
        const int8x16x2_t x = vld1q_s8_x2(in);
        const int8x16x4_t front = vld1q_s8_x4(weights);
        const int8x16x4_t back = vld1q_s8_x4(&weights[64]);
        if (is_wide[at] != 0) {
#pragma GCC unroll 4
            for (int32_t r = 0; r < 4; r++) {
                sums[r] = vpadalq_s16(sums[r], by_two(front.val[r], x.val[0]));
                sums[r] = vpadalq_s16(sums[r], by_two(back.val[r], x.val[1]));
            }
        } else {
#pragma GCC unroll 4
            for (int32_t r = 0; r < 4; r++) {
                int16x8_t products = by_two(front.val[r], x.val[0]);
                sums[r] = vpadalq_s16(sums[r], by_four(products, back.val[r], x.val[1]));
            }
        }
        in += 32;
        weights += 128;
    }
    int32x4_t joined = vpaddq_s32(vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3]));
    vst1q_s32(acc, vaddq_s32(joined, vld1q_s32(bias)));
}

#else

static void four_rows(const int8_t *weights, const int8_t *is_wide, const int32_t *bias,
                      const int8_t *in, int32_t steps, int32_t *acc)
{
    (void)is_wide; /* says where sums of four products fit; here they fit anyway */
    for (int32_t row = 0; row < 4; row++) {
        acc[row] = bias[row];
        for (int32_t i = 0; i < 32 * steps; i++) {
            acc[row] += weights[i / 16 * 64 + row * 16 + i % 16] * in[i];
        }
    }
}

#endif

void ql_dense_few_neon(const ql_dense_few_layer *layer, const int8_t *in, int8_t *scratch,
                       void *out)
{
    int32_t acc[QL_NEON_PAD];
    int32_t steps = (layer->in_len + 31) / 32;
    if (layer->in_len % 32 != 0) { /* what lies behind the input meets weights of zero */
        (void)memset(&scratch[32 * (steps - 1)], 0, 32U);
        (void)memcpy(scratch, in, (size_t)layer->in_len);
        in = scratch;
    }
    for (int32_t row = 0; row < layer->out_len; row += 4) {
        four_rows(&layer->weights[row * 32 * steps], &layer->is_wide[row / 4 * steps],
                  &layer->bias[row], in, steps, &acc[row]);
    }
    layer->store(&layer->requant, 0, layer->out_len, acc, out);
}
