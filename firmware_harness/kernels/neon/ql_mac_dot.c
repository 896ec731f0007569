/* SPDX-License-Identifier: Apache-2.0 */
/* Rows by one vector with the dot product (decision 0001); contract: ql_kernels_dot.h.
 *
 *     v0         sixteen inputs                       v2 - v5    weights of sixteen rows
 *     v16 - v31  sums of four rows each               v8 - v11   of the next sixteen
 */
#include "ql_kernels_dot.h"

#include <string.h>

#if defined(__ARM_FEATURE_DOTPROD) && defined(__aarch64__)
#include <arm_neon.h>

/* One group of four inputs, lane `lane` of v0, times four vectors of weights from one of two sets
 * of registers. */
#define ADD_EVEN(lane, s0, s1, s2, s3)            \
    "sdot " s0 ".4s, v2.16b, v0.4b[" lane "]\n\t" \
    "sdot " s1 ".4s, v3.16b, v0.4b[" lane "]\n\t" \
    "sdot " s2 ".4s, v4.16b, v0.4b[" lane "]\n\t" \
    "sdot " s3 ".4s, v5.16b, v0.4b[" lane "]\n\t"
#define ADD_ODD(lane, s0, s1, s2, s3)              \
    "sdot " s0 ".4s, v8.16b, v0.4b[" lane "]\n\t"  \
    "sdot " s1 ".4s, v9.16b, v0.4b[" lane "]\n\t"  \
    "sdot " s2 ".4s, v10.16b, v0.4b[" lane "]\n\t" \
    "sdot " s3 ".4s, v11.16b, v0.4b[" lane "]\n\t"
#define LOAD_EVEN "ld1 {v2.16b, v3.16b, v4.16b, v5.16b}, [%[weights]], #64\n\t"
#define LOAD_ODD "ld1 {v8.16b, v9.16b, v10.16b, v11.16b}, [%[weights]], #64\n\t"
#define ADD_GROUP(lane)                                           \
    LOAD_EVEN LOAD_ODD ADD_EVEN(lane, "v16", "v17", "v18", "v19") \
        LOAD_EVEN ADD_ODD(lane, "v20", "v21", "v22", "v23")       \
            LOAD_ODD ADD_EVEN(lane, "v24", "v25", "v26", "v27")   \
                ADD_ODD(lane, "v28", "v29", "v30", "v31")

/* 64 rows times `sixteens` * 16 inputs; returns where the weights of the inputs that are left
 * begin. Compilers do not step through the weights as they load them. */
static const int8_t *block64(const int8_t *weights, const int32_t *bias, const int8_t *in,
                             int32_t sixteens, int32_t *acc)
{
    /* clang-format off */
    __asm__ volatile(
        "ld1 {v16.4s, v17.4s, v18.4s, v19.4s}, [%[bias]], #64\n\t"
        "ld1 {v20.4s, v21.4s, v22.4s, v23.4s}, [%[bias]], #64\n\t"
        "ld1 {v24.4s, v25.4s, v26.4s, v27.4s}, [%[bias]], #64\n\t"
        "ld1 {v28.4s, v29.4s, v30.4s, v31.4s}, [%[bias]]\n\t"
        "cbz %w[sixteens], 2f\n\t"
        "1:\n\t"
        "ldr q0, [%[in]], #16\n\t"
        "subs %w[sixteens], %w[sixteens], #1\n\t"
        ADD_GROUP("0") ADD_GROUP("1") ADD_GROUP("2") ADD_GROUP("3")
        "b.gt 1b\n\t"
        "2:\n\t"
        "st1 {v16.4s, v17.4s, v18.4s, v19.4s}, [%[acc]], #64\n\t"
        "st1 {v20.4s, v21.4s, v22.4s, v23.4s}, [%[acc]], #64\n\t"
        "st1 {v24.4s, v25.4s, v26.4s, v27.4s}, [%[acc]], #64\n\t"
        "st1 {v28.4s, v29.4s, v30.4s, v31.4s}, [%[acc]]\n\t"
        : [weights] "+r"(weights), [bias] "+r"(bias), [in] "+r"(in), [sixteens] "+r"(sixteens),
          [acc] "+r"(acc)
        :
        : "cc", "memory", "v0", "v2", "v3", "v4", "v5", "v8", "v9", "v10", "v11", "v16", "v17",
          "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30",
          "v31");
    /* clang-format on */
    return weights;
}

/* 4 * vectors rows; vectors is a constant wherever this is inlined. Returns where the next block's
 * weights begin. */
__attribute__((always_inline)) static inline const int8_t *
block(const int8_t *weights, const int32_t *bias, const int8_t *in, int32_t in_len, int32_t *acc,
      const int32_t vectors)
{
    int32x4_t sums[16];
#pragma GCC unroll 16
    for (int32_t v = 0; v < vectors; v++) {
        sums[v] = vld1q_s32(&bias[4 * v]);
    }
#pragma GCC unroll 4
    for (; in_len >= 4; in_len -= 4) {
        int32_t word;
        (void)memcpy(&word, in, 4U);
        int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(word));
#pragma GCC unroll 16
        for (int32_t v = 0; v < vectors; v++) {
            sums[v] = vdotq_s32(sums[v], vld1q_s8(&weights[16 * v]), x);
        }
        in += 4;
        weights += 16 * vectors;
    }
    if (in_len > 0) { /* one to three inputs */
        int32_t word = (uint8_t)in[0];
        if (in_len > 1) {
            word |= (uint8_t)in[1] << 8;
        }
        if (in_len > 2) {
            word |= (uint8_t)in[2] << 16;
        }
        int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(word));
#pragma GCC unroll 16
        for (int32_t v = 0; v < vectors; v++) {
            sums[v] = vdotq_s32(sums[v], vld1q_s8(&weights[16 * v]), x);
        }
        weights += 16 * vectors;
    }
#pragma GCC unroll 16
    for (int32_t v = 0; v < vectors; v++) {
        vst1q_s32(&acc[4 * v], sums[v]);
    }
    return weights;
}

void ql_mac_dot(const int8_t *weights, const int32_t *bias, const int8_t *in, int32_t in_len,
                int32_t rows, int32_t *acc)
{
    for (; ql_neon_rows(rows) == 64; rows -= 64) {
        weights = block64(weights, bias, in, in_len / 16, acc);
        if (in_len % 16 != 0) {
            weights = block(weights, acc, in + in_len / 16 * 16, in_len % 16, acc, 16);
        }
        bias += 64;
        acc += 64;
    }
    for (; ql_neon_rows(rows) == 16; rows -= 16) {
        weights = block(weights, bias, in, in_len, acc, 4);
        bias += 16;
        acc += 16;
    }
    for (; rows > 0; rows -= 4) {
        weights = block(weights, bias, in, in_len, acc, 1);
        bias += 4;
        acc += 4;
    }
}

#elif defined(__aarch64__)
#error "quarl: the dot product is off in this compiler; turn it on: +dotprod"
#else

void ql_mac_dot(const int8_t *weights, const int32_t *bias, const int8_t *in, int32_t in_len,
                int32_t rows, int32_t *acc)
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
