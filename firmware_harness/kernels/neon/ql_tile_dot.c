/* SPDX-License-Identifier: Apache-2.0 */
/* Sixteen rows by four pixels with the dot product (decision 0001); contract: ql_kernels_dot.h. */
#include "ql_kernels_dot.h"

#if defined(__ARM_FEATURE_DOTPROD) && defined(__aarch64__)
#include <arm_neon.h>

/* Four inputs (lane `lane` of each pixel's sixteen) of sixteen rows by four pixels. */
#define ADD_GROUP(lane)                                                                    \
    do {                                                                                   \
        const int8x16x4_t rows = vld1q_s8_x4(weights);                                     \
        weights += 64;                                                                     \
        _Pragma("GCC unroll 16") for (int32_t i = 0; i < 16; i++)                          \
        {                                                                                  \
            sums[i / 4][i % 4] =                                                           \
                vdotq_laneq_s32(sums[i / 4][i % 4], rows.val[i % 4], pixels[i / 4], lane); \
        }                                                                                  \
    } while (0)

/* Sixteen rows by four pixels: sixteen vectors of four sums. */
static const int8_t *block(const int8_t *weights, const int32_t *bias, const int8_t *const *windows,
                           const ql_lines *lines, int32_t *acc)
{
    int32x4_t sums[4][4];
#pragma GCC unroll 16
    for (int32_t i = 0; i < 16; i++) {
        sums[i / 4][i % 4] = vld1q_s32(&bias[i % 4 * 4]);
    }
    int32_t offset = 0;
    for (int32_t line = lines->count; line > 0; line--) {
        const int8_t *first = windows[0] + offset;
        const int8_t *second = windows[1] + offset;
        const int8_t *third = windows[2] + offset;
        const int8_t *fourth = windows[3] + offset;
        for (int32_t at = 0; at < lines->bytes; at += 16) {
            const int8x16_t pixels[4] = {vld1q_s8(first + at), vld1q_s8(second + at),
                                         vld1q_s8(third + at), vld1q_s8(fourth + at)};
            ADD_GROUP(0);
            ADD_GROUP(1);
            ADD_GROUP(2);
            ADD_GROUP(3);
        }
        offset += lines->stride;
    }
#pragma GCC unroll 16
    for (int32_t i = 0; i < 16; i++) {
        vst1q_s32(&acc[i / 4 * QL_TILE_ROWS + i % 4 * 4], sums[i / 4][i % 4]);
    }
    return weights;
}

void ql_tile_dot(const int8_t *weights, const int32_t *bias, const int8_t *const *windows,
                 const ql_lines *lines, int32_t rows, int32_t *acc)
{
    for (int32_t row = 0; row < rows; row += 16) {
        weights = block(weights, &bias[row], windows, lines, &acc[row]);
    }
}

#elif defined(__aarch64__)
#error "quarl: the dot product is off in this compiler; turn it on: +dotprod"
#else

void ql_tile_dot(const int8_t *weights, const int32_t *bias, const int8_t *const *windows,
                 const ql_lines *lines, int32_t rows, int32_t *acc)
{
    int32_t padded_rows = (rows + 15) / 16 * 16;
    for (int32_t row = 0; row < padded_rows; row++) {
        for (int32_t p = 0; p < QL_TILE_PIXELS; p++) {
            const int8_t *own =
                &weights[row / 16 * 16 * lines->count * lines->bytes + row % 16 * 4];
            int32_t sum = bias[row];
            int32_t at = 0;
            for (int32_t line = 0; line < lines->count; line++) {
                for (int32_t i = 0; i < lines->bytes; i++) {
                    sum += own[at / 4 * 64 + at % 4] * windows[p][line * lines->stride + i];
                    at++;
                }
            }
            acc[p * QL_TILE_ROWS + row] = sum;
        }
    }
}

#endif
