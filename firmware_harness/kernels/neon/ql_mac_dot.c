#include "ql_kernels_dot.h"

#include <string.h>

#if defined(__ARM_FEATURE_DOTPROD) && defined(__aarch64__)
#include <arm_neon.h>

/* Adds one group of four inputs, lane `lane` of x, to the sums of all rows. */
#define ADD_GROUP(lane)                                                                   \
    do {                                                                                  \
        _Pragma("GCC unroll 4") for (int32_t v = 0; v + 3 < vectors; v += 4)              \
        {                                                                                 \
            int8x16x4_t four = vld1q_s8_x4(weights);                                      \
            weights += 64;                                                                \
            sums[v] = vdotq_laneq_s32(sums[v], four.val[0], x, lane);                     \
            sums[v + 1] = vdotq_laneq_s32(sums[v + 1], four.val[1], x, lane);             \
            sums[v + 2] = vdotq_laneq_s32(sums[v + 2], four.val[2], x, lane);             \
            sums[v + 3] = vdotq_laneq_s32(sums[v + 3], four.val[3], x, lane);             \
        }                                                                                 \
        if (vectors == 1) {                                                               \
            sums[0] = vdotq_laneq_s32(sums[0], vld1q_s8(weights), x, lane);               \
            weights += 16;                                                                \
        }                                                                                 \
    } while (0)

/* One block of 4 * vectors rows; vectors is a constant wherever this is inlined. Returns where the next block's weights begin. */
__attribute__((always_inline)) static inline const int8_t *block(const int8_t *weights, const int32_t *bias, const int8_t *in, int32_t in_len,
                                                                 int32_t *acc, const int32_t vectors)
{
    int32x4_t sums[16];
#pragma GCC unroll 16
    for (int32_t v = 0; v < vectors; v++) {
        sums[v] = vld1q_s32(&bias[4 * v]);
    }
    for (; in_len >= 16; in_len -= 16) {
        int8x16_t x = vld1q_s8(in);
        in += 16;
        ADD_GROUP(0);
        ADD_GROUP(1);
        ADD_GROUP(2);
        ADD_GROUP(3);
    }
    for (; in_len > 0; in_len -= 4) {
        int32_t word = 0;
        if (in_len >= 4) {
            (void)memcpy(&word, in, 4U);
        } else {
            (void)memcpy(&word, in, (size_t)in_len);
        }
        int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(word));
        in += 4;
        ADD_GROUP(0);
    }
#pragma GCC unroll 16
    for (int32_t v = 0; v < vectors; v++) {
        vst1q_s32(&acc[4 * v], sums[v]);
    }
    return weights;
}

void ql_mac_dot(const int8_t *weights, const int32_t *bias, const int8_t *in, int32_t in_len, int32_t rows, int32_t *acc)
{
    for (int32_t row = 0; row < rows;) {
        int32_t count = ql_neon_rows(rows - row);
        if (count == 64) {
            weights = block(weights, &bias[row], in, in_len, &acc[row], 16);
        } else if (count == 16) {
            weights = block(weights, &bias[row], in, in_len, &acc[row], 4);
        } else {
            weights = block(weights, &bias[row], in, in_len, &acc[row], 1);
        }
        row += count;
    }
}

#elif defined(__aarch64__)
#error "quarl: this core's dot product is switched off in the compiler; turn it on (+dotprod), or build for a core without it"
#else

void ql_mac_dot(const int8_t *weights, const int32_t *bias, const int8_t *in, int32_t in_len, int32_t rows, int32_t *acc)
{
    for (int32_t first = 0; first < rows;) {
        int32_t count = ql_neon_rows(rows - first);
        for (int32_t row = first; row < first + count; row++) {
            const int8_t *own = &weights[(row - first) * 4];
            int32_t sum = bias[row];
            for (int32_t i = 0; i < in_len; i++) {
                sum += own[i / 4 * count * 4 + i % 4] * in[i];
            }
            acc[row] = sum;
        }
        weights += count * ((in_len + 3) / 4 * 4);
        first += count;
    }
}

#endif
