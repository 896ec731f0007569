/* SPDX-License-Identifier: Apache-2.0 */
/* Rows by one vector with NEON (decision 0001); contract: ql_kernels_neon.h. */
#include "ql_kernels_neon.h"

#if defined(__aarch64__)
#include <arm_neon.h>

/* 64 rows by eight inputs:
 *
 *     v0 v1      the inputs, spread                   v2 - v5    sixteen rows' products, int16
 *     v8 - v11   weights of sixteen rows, k0 to k3    v12 - v15  k4 to k7
 *     v16 - v31  sums of four rows each
 *
 * Compilers run out of registers here and keep sums in memory. */
#define MULTIPLY(x, w0, w1, w2, w3)           \
    "smull v2.8h, " w0 ".8b, " x ".8b\n\t"    \
    "smull v3.8h, " w1 ".8b, " x ".8b\n\t"    \
    "smull v4.8h, " w2 ".8b, " x ".8b\n\t"    \
    "smull v5.8h, " w3 ".8b, " x ".8b\n\t"    \
    "smlal2 v2.8h, " w0 ".16b, " x ".16b\n\t" \
    "smlal2 v3.8h, " w1 ".16b, " x ".16b\n\t" \
    "smlal2 v4.8h, " w2 ".16b, " x ".16b\n\t" \
    "smlal2 v5.8h, " w3 ".16b, " x ".16b\n\t"
#define MULTIPLY_MORE(x, w0, w1, w2, w3)      \
    "smlal v2.8h, " w0 ".8b, " x ".8b\n\t"    \
    "smlal v3.8h, " w1 ".8b, " x ".8b\n\t"    \
    "smlal v4.8h, " w2 ".8b, " x ".8b\n\t"    \
    "smlal v5.8h, " w3 ".8b, " x ".8b\n\t"    \
    "smlal2 v2.8h, " w0 ".16b, " x ".16b\n\t" \
    "smlal2 v3.8h, " w1 ".16b, " x ".16b\n\t" \
    "smlal2 v4.8h, " w2 ".16b, " x ".16b\n\t" \
    "smlal2 v5.8h, " w3 ".16b, " x ".16b\n\t"
#define ADD(s0, s1, s2, s3)       \
    "sadalp " s0 ".4s, v2.8h\n\t" \
    "sadalp " s1 ".4s, v3.8h\n\t" \
    "sadalp " s2 ".4s, v4.8h\n\t" \
    "sadalp " s3 ".4s, v5.8h\n\t"
#define LOAD                                                        \
    "ld1 {v8.16b, v9.16b, v10.16b, v11.16b}, [%[weights]], #64\n\t" \
    "ld1 {v12.16b, v13.16b, v14.16b, v15.16b}, [%[weights]], #64\n\t"
/* Four products in an int16, or two. */
#define BY_FOUR(...)                                                                              \
    LOAD MULTIPLY("v0", "v8", "v9", "v10", "v11") MULTIPLY_MORE("v1", "v12", "v13", "v14", "v15") \
        ADD(__VA_ARGS__)
#define BY_TWO(...)                                                \
    LOAD MULTIPLY("v0", "v8", "v9", "v10", "v11") ADD(__VA_ARGS__) \
        MULTIPLY("v1", "v12", "v13", "v14", "v15") ADD(__VA_ARGS__)
#define EIGHT_INPUTS(by)                                              \
    "ldp q0, q1, [%[spread]], #32\n\t" by("v16", "v17", "v18", "v19") \
        by("v20", "v21", "v22", "v23") by("v24", "v25", "v26", "v27") \
            by("v28", "v29", "v30", "v31")

/* 64 rows; returns where the next block's weights begin. fours and groups are even. */
static const int8_t *block64(const int8_t *weights, const int32_t *bias, const int8_t *spread,
                             int32_t fours, int32_t groups, int32_t *acc)
{
    int32_t twos = groups - fours;
    /* clang-format off */
    __asm__ volatile(
        "ld1 {v16.4s, v17.4s, v18.4s, v19.4s}, [%[bias]], #64\n\t"
        "ld1 {v20.4s, v21.4s, v22.4s, v23.4s}, [%[bias]], #64\n\t"
        "ld1 {v24.4s, v25.4s, v26.4s, v27.4s}, [%[bias]], #64\n\t"
        "ld1 {v28.4s, v29.4s, v30.4s, v31.4s}, [%[bias]]\n\t"
        "cbz %w[fours], 2f\n\t"
        "tbz %w[fours], #1, 1f\n\t" /* an odd number of eights */
        EIGHT_INPUTS(BY_FOUR)
        "subs %w[fours], %w[fours], #2\n\t"
        "b.eq 2f\n\t"
        "1:\n\t"
        "subs %w[fours], %w[fours], #4\n\t"
        EIGHT_INPUTS(BY_FOUR)
        EIGHT_INPUTS(BY_FOUR)
        "b.gt 1b\n\t"
        "2:\n\t"
        "cbz %w[twos], 4f\n\t"
        "3:\n\t"
        "subs %w[twos], %w[twos], #2\n\t"
        EIGHT_INPUTS(BY_TWO)
        "b.gt 3b\n\t"
        "4:\n\t"
        "st1 {v16.4s, v17.4s, v18.4s, v19.4s}, [%[acc]], #64\n\t"
        "st1 {v20.4s, v21.4s, v22.4s, v23.4s}, [%[acc]], #64\n\t"
        "st1 {v24.4s, v25.4s, v26.4s, v27.4s}, [%[acc]], #64\n\t"
        "st1 {v28.4s, v29.4s, v30.4s, v31.4s}, [%[acc]]\n\t"
        : [weights] "+r"(weights), [bias] "+r"(bias), [spread] "+r"(spread), [fours] "+r"(fours),
          [twos] "+r"(twos), [acc] "+r"(acc)
        :
        : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v8", "v9", "v10", "v11", "v12",
          "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25",
          "v26", "v27", "v28", "v29", "v30", "v31");
    /* clang-format on */
    return weights;
}

/* 16 rows or 4: one vector of weights for each four. vectors is a constant wherever this is
 * inlined. */
__attribute__((always_inline)) static inline const int8_t *
block(const int8_t *weights, const int32_t *bias, const int8_t *spread, int32_t fours,
      int32_t groups, int32_t *acc, const int32_t vectors)
{
    int32x4_t sums[4];
    int32_t twos = groups - fours;
#pragma GCC unroll 4
    for (int32_t v = 0; v < vectors; v++) {
        sums[v] = vld1q_s32(&bias[4 * v]);
    }
#pragma GCC unroll 2
    for (; fours > 0; fours -= 2) {
        int8x16_t x = vld1q_s8(spread);
        int8x16_t y = vld1q_s8(&spread[16]);
#pragma GCC unroll 4
        for (int32_t v = 0; v < vectors; v++) {
            int8x16_t w = vld1q_s8(&weights[16 * v]);
            int8x16_t u = vld1q_s8(&weights[16 * (vectors + v)]);
            int16x8_t products = vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x);
            products = vmlal_high_s8(vmlal_s8(products, vget_low_s8(u), vget_low_s8(y)), u, y);
            sums[v] = vpadalq_s16(sums[v], products);
        }
        spread += 32;
        weights += 32 * vectors;
    }
#pragma GCC unroll 2
    for (; twos > 0; twos -= 2) {
#pragma GCC unroll 8
        for (int32_t i = 0; i < 2 * vectors; i++) {
            int8x16_t x = vld1q_s8(&spread[i / vectors * 16]);
            int8x16_t w = vld1q_s8(&weights[16 * i]);
            int16x8_t products = vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x);
            sums[i % vectors] = vpadalq_s16(sums[i % vectors], products);
        }
        spread += 32;
        weights += 32 * vectors;
    }
#pragma GCC unroll 4
    for (int32_t v = 0; v < vectors; v++) {
        vst1q_s32(&acc[4 * v], sums[v]);
    }
    return weights;
}

void ql_mac_neon(const int8_t *weights, const int32_t *bias, const int8_t *spread, int32_t fours,
                 int32_t groups, int32_t rows, int32_t *acc)
{
    for (; ql_neon_rows(rows) == 64; rows -= 64) {
        weights = block64(weights, bias, spread, fours, groups, acc);
        bias += 64;
        acc += 64;
    }
    for (; ql_neon_rows(rows) == 16; rows -= 16) {
        weights = block(weights, bias, spread, fours, groups, acc, 4);
        bias += 16;
        acc += 16;
    }
    for (; rows > 0; rows -= 4) {
        weights = block(weights, bias, spread, fours, groups, acc, 1);
        bias += 4;
        acc += 4;
    }
}

#else

/* Where in its block of `count` rows the weights of a row begin, for four inputs. */
static int32_t vector_of(int32_t row, int32_t group, int32_t count)
{
    int32_t vectors = count / 4;
    int32_t own = row / 4;
    int32_t stacked = vectors > 4 ? 4 : vectors; /* of the same four inputs, side by side */
    return 16 * (group / 2 * 2 * vectors + own / stacked * 2 * stacked + group % 2 * stacked +
                 own % stacked);
}

void ql_mac_neon(const int8_t *weights, const int32_t *bias, const int8_t *spread, int32_t fours,
                 int32_t groups, int32_t rows, int32_t *acc)
{
    (void)fours; /* says where sums of four products fit; here they fit anyway */
    for (int32_t first = 0; first < rows;) {
        int32_t count = ql_neon_rows(rows - first);
        for (int32_t row = 0; row < count; row++) {
            int32_t sum = bias[first + row];
            for (int32_t group = 0; group < groups; group++) {
                const int8_t *own = &weights[vector_of(row, group, count) + row % 4 * 2];
                /* two in the vector's first half, two in its second */
                for (int32_t i = 0; i < 4; i++) {
                    sum += own[i / 2 * 8 + i % 2] * spread[group * 16 + i / 2 * 8 + i % 2];
                }
            }
            acc[first + row] = sum;
        }
        weights += count * groups * 4;
        first += count;
    }
}

#endif
