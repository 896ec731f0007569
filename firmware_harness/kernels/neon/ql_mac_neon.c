/* SPDX-License-Identifier: Apache-2.0 */
/* Rows by one vector with NEON (decision 0001); contract: ql_kernels_neon.h. */
#include "ql_kernels_neon.h"

#if defined(__aarch64__)
#include <arm_neon.h>

/* Four vectors of weights from one of two sets of registers, sixteen products each, added to four
 * vectors of sums. Compilers run out of registers here and keep sums in memory. */
#define ADD_FOUR(w0, w1, w2, w3, x, s0, s1, s2, s3) \
    "smull v2.8h, " w0 ".8b, " x ".8b\n\t"          \
    "smull v3.8h, " w1 ".8b, " x ".8b\n\t"          \
    "smull v4.8h, " w2 ".8b, " x ".8b\n\t"          \
    "smull v5.8h, " w3 ".8b, " x ".8b\n\t"          \
    "smlal2 v2.8h, " w0 ".16b, " x ".16b\n\t"       \
    "smlal2 v3.8h, " w1 ".16b, " x ".16b\n\t"       \
    "smlal2 v4.8h, " w2 ".16b, " x ".16b\n\t"       \
    "smlal2 v5.8h, " w3 ".16b, " x ".16b\n\t"       \
    "sadalp " s0 ".4s, v2.8h\n\t"                   \
    "sadalp " s1 ".4s, v3.8h\n\t"                   \
    "sadalp " s2 ".4s, v4.8h\n\t"                   \
    "sadalp " s3 ".4s, v5.8h\n\t"
#define LOAD_EVEN "ld1 {v8.16b, v9.16b, v10.16b, v11.16b}, [%[weights]], #64\n\t"
#define LOAD_ODD "ld1 {v12.16b, v13.16b, v14.16b, v15.16b}, [%[weights]], #64\n\t"
#define ADD_EVEN(x, s0, s1, s2, s3) ADD_FOUR("v8", "v9", "v10", "v11", x, s0, s1, s2, s3)
#define ADD_ODD(x, s0, s1, s2, s3) ADD_FOUR("v12", "v13", "v14", "v15", x, s0, s1, s2, s3)

/* 64 rows; returns where the next block's weights begin. groups is even. */
static const int8_t *block64(const int8_t *weights, const int32_t *bias, const int8_t *spread,
                             int32_t groups, int32_t *acc)
{
    /* clang-format off */
    __asm__ volatile(
        "ld1 {v16.4s, v17.4s, v18.4s, v19.4s}, [%[bias]], #64\n\t"
        "ld1 {v20.4s, v21.4s, v22.4s, v23.4s}, [%[bias]], #64\n\t"
        "ld1 {v24.4s, v25.4s, v26.4s, v27.4s}, [%[bias]], #64\n\t"
        "ld1 {v28.4s, v29.4s, v30.4s, v31.4s}, [%[bias]]\n\t"
        "1:\n\t"
        "ldp q0, q1, [%[spread]], #32\n\t" /* two groups */
        LOAD_EVEN LOAD_ODD
        ADD_EVEN("v0", "v16", "v17", "v18", "v19") LOAD_EVEN
        ADD_ODD("v0", "v20", "v21", "v22", "v23") LOAD_ODD
        ADD_EVEN("v0", "v24", "v25", "v26", "v27") LOAD_EVEN
        ADD_ODD("v0", "v28", "v29", "v30", "v31") LOAD_ODD
        "subs %w[groups], %w[groups], #2\n\t"
        ADD_EVEN("v1", "v16", "v17", "v18", "v19") LOAD_EVEN
        ADD_ODD("v1", "v20", "v21", "v22", "v23") LOAD_ODD
        ADD_EVEN("v1", "v24", "v25", "v26", "v27")
        ADD_ODD("v1", "v28", "v29", "v30", "v31")
        "b.gt 1b\n\t"
        "st1 {v16.4s, v17.4s, v18.4s, v19.4s}, [%[acc]], #64\n\t"
        "st1 {v20.4s, v21.4s, v22.4s, v23.4s}, [%[acc]], #64\n\t"
        "st1 {v24.4s, v25.4s, v26.4s, v27.4s}, [%[acc]], #64\n\t"
        "st1 {v28.4s, v29.4s, v30.4s, v31.4s}, [%[acc]]\n\t"
        : [weights] "+r"(weights), [bias] "+r"(bias), [spread] "+r"(spread), [groups] "+r"(groups),
          [acc] "+r"(acc)
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
block(const int8_t *weights, const int32_t *bias, const int8_t *spread, int32_t groups,
      int32_t *acc, const int32_t vectors)
{
    int32x4_t sums[4];
#pragma GCC unroll 4
    for (int32_t v = 0; v < vectors; v++) {
        sums[v] = vld1q_s32(&bias[4 * v]);
    }
#pragma GCC unroll 2
    for (; groups > 0; groups -= 2) {
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

void ql_mac_neon(const int8_t *weights, const int32_t *bias, const int8_t *spread, int32_t groups,
                 int32_t rows, int32_t *acc)
{
    for (int32_t row = 0; row < rows;) {
        int32_t count = ql_neon_rows(rows - row);
        if (count == 64) {
            weights = block64(weights, &bias[row], spread, groups, &acc[row]);
        } else if (count == 16) {
            weights = block(weights, &bias[row], spread, groups, &acc[row], 4);
        } else {
            weights = block(weights, &bias[row], spread, groups, &acc[row], 1);
        }
        row += count;
    }
}

#else

void ql_mac_neon(const int8_t *weights, const int32_t *bias, const int8_t *spread, int32_t groups,
                 int32_t rows, int32_t *acc)
{
    for (int32_t first = 0; first < rows;) {
        int32_t count = ql_neon_rows(rows - first);
        for (int32_t row = first; row < first + count; row++) {
            const int8_t *own = &weights[(row - first) / 4 * 16 + (row - first) % 4 * 2];
            int32_t sum = bias[row];
            for (int32_t group = 0; group < groups; group++) {
                /* two in the vector's first half, two in its second */
                for (int32_t i = 0; i < 4; i++) {
                    sum += own[group * count * 4 + i / 2 * 8 + i % 2] *
                           spread[group * 16 + i / 2 * 8 + i % 2];
                }
            }
            acc[row] = sum;
        }
        weights += count * groups * 4;
        first += count;
    }
}

#endif
