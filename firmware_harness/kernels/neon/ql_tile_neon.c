#include "ql_kernels_neon.h"

#if defined(__aarch64__)
#include <arm_neon.h>

/* Four rows by four pixels: sixteen sums in registers, each of four parts that are added at the end. */
static const int8_t *block(const int8_t *weights, int32x4_t bias, const int8_t *const *windows, const ql_lines *lines, int32_t *acc)
{
    int32x4_t sums[4][4];
#pragma GCC unroll 16
    for (int32_t i = 0; i < 16; i++) {
        sums[i / 4][i % 4] = vdupq_n_s32(0);
    }
    int32_t offset = 0;
    for (int32_t line = lines->count; line > 0; line--) {
        const int8_t *first = windows[0] + offset;
        const int8_t *second = windows[1] + offset;
        const int8_t *third = windows[2] + offset;
        const int8_t *fourth = windows[3] + offset;
        for (int32_t at = 0; at < lines->bytes; at += 16) {
            const int8x16x4_t rows = vld1q_s8_x4(weights);
            const int8x16_t pixels[4] = {vld1q_s8(first + at), vld1q_s8(second + at), vld1q_s8(third + at), vld1q_s8(fourth + at)};
            weights += 64;
#pragma GCC unroll 16
            for (int32_t i = 0; i < 16; i++) {
                int8x16_t row = rows.val[i % 4];
                int8x16_t pixel = pixels[i / 4];
                int16x8_t products = vmlal_high_s8(vmull_s8(vget_low_s8(row), vget_low_s8(pixel)), row, pixel);
                sums[i / 4][i % 4] = vpadalq_s16(sums[i / 4][i % 4], products);
            }
        }
        offset += lines->stride;
    }
#pragma GCC unroll 4
    for (int32_t p = 0; p < QL_TILE_PIXELS; p++) {
        int32x4_t total = vpaddq_s32(vpaddq_s32(sums[p][0], sums[p][1]), vpaddq_s32(sums[p][2], sums[p][3]));
        vst1q_s32(&acc[p * QL_TILE_ROWS], vaddq_s32(total, bias));
    }
    return weights;
}

void ql_tile_neon(const int8_t *weights, const int32_t *bias, const int8_t *const *windows, const ql_lines *lines, int32_t rows, int32_t *acc)
{
    for (int32_t row = 0; row < rows; row += 4) {
        weights = block(weights, vld1q_s32(&bias[row]), windows, lines, &acc[row]);
    }
}

#else

void ql_tile_neon(const int8_t *weights, const int32_t *bias, const int8_t *const *windows, const ql_lines *lines, int32_t rows, int32_t *acc)
{
    int32_t padded_rows = (rows + 3) / 4 * 4;
    for (int32_t row = 0; row < padded_rows; row++) {
        for (int32_t p = 0; p < QL_TILE_PIXELS; p++) {
            const int8_t *own = &weights[row / 4 * 4 * lines->count * lines->bytes + row % 4 * 16];
            int32_t sum = bias[row];
            int32_t at = 0;
            for (int32_t line = 0; line < lines->count; line++) {
                for (int32_t i = 0; i < lines->bytes; i++) {
                    sum += own[at / 16 * 64 + at % 16] * windows[p][line * lines->stride + i];
                    at++;
                }
            }
            acc[p * QL_TILE_ROWS + row] = sum;
        }
    }
}

#endif
