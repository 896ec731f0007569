/* SPDX-License-Identifier: Apache-2.0 */
/* Four rows by four pixels with NEON (decision 0001); contract: ql_kernels_neon.h. */
#include "ql_kernels_neon.h"

#if defined(__aarch64__)

/* One pixel's sixteen inputs times four rows, added to four vectors of sums. Compilers run out of
 * registers here and keep sums in memory. */
#define ADD_PIXEL(x, t0, t1, t2, t3, s0, s1, s2, s3) \
    "smull " t0 ".8h, v0.8b, " x ".8b\n\t"           \
    "smull " t1 ".8h, v1.8b, " x ".8b\n\t"           \
    "smull " t2 ".8h, v2.8b, " x ".8b\n\t"           \
    "smull " t3 ".8h, v3.8b, " x ".8b\n\t"           \
    "smlal2 " t0 ".8h, v0.16b, " x ".16b\n\t"        \
    "smlal2 " t1 ".8h, v1.16b, " x ".16b\n\t"        \
    "smlal2 " t2 ".8h, v2.16b, " x ".16b\n\t"        \
    "smlal2 " t3 ".8h, v3.16b, " x ".16b\n\t"        \
    "sadalp " s0 ".4s, " t0 ".8h\n\t"                \
    "sadalp " s1 ".4s, " t1 ".8h\n\t"                \
    "sadalp " s2 ".4s, " t2 ".8h\n\t"                \
    "sadalp " s3 ".4s, " t3 ".8h\n\t"
#define ADD_EVEN(x, s0, s1, s2, s3) ADD_PIXEL(x, "v8", "v9", "v10", "v11", s0, s1, s2, s3)
#define ADD_ODD(x, s0, s1, s2, s3) ADD_PIXEL(x, "v12", "v13", "v14", "v15", s0, s1, s2, s3)
/* The four parts of four rows' sums become one vector, bias added. */
#define JOIN(s0, s1, s2, s3)                   \
    "addp " s0 ".4s, " s0 ".4s, " s1 ".4s\n\t" \
    "addp " s2 ".4s, " s2 ".4s, " s3 ".4s\n\t" \
    "addp " s0 ".4s, " s0 ".4s, " s2 ".4s\n\t" \
    "add " s0 ".4s, " s0 ".4s, v0.4s\n\t"
#define CLEAR(s) "movi " s ".4s, #0\n\t"

/* Four rows by four pixels; returns where the next four rows' weights begin. */
static const int8_t *block(const int8_t *weights, const int32_t *bias, const int8_t *const *windows,
                           const ql_lines *lines, int32_t *acc)
{
    const int8_t *first = windows[0];
    const int8_t *second = windows[1];
    const int8_t *third = windows[2];
    const int8_t *fourth = windows[3];
    int64_t skip = lines->stride - lines->bytes;
    int32_t left = lines->count;
    int32_t bytes;
    /* clang-format off */
    __asm__ volatile(
        CLEAR("v16") CLEAR("v17") CLEAR("v18") CLEAR("v19")
        CLEAR("v20") CLEAR("v21") CLEAR("v22") CLEAR("v23")
        CLEAR("v24") CLEAR("v25") CLEAR("v26") CLEAR("v27")
        CLEAR("v28") CLEAR("v29") CLEAR("v30") CLEAR("v31")
        "1:\n\t"
        "mov %w[bytes], %w[line_bytes]\n\t"
        "2:\n\t"
        "ld1 {v0.16b, v1.16b, v2.16b, v3.16b}, [%[weights]], #64\n\t"
        "ldr q4, [%[first]], #16\n\t"
        "ldr q5, [%[second]], #16\n\t"
        "ldr q6, [%[third]], #16\n\t"
        "ldr q7, [%[fourth]], #16\n\t"
        "subs %w[bytes], %w[bytes], #16\n\t"
        ADD_EVEN("v4", "v16", "v17", "v18", "v19")
        ADD_ODD("v5", "v20", "v21", "v22", "v23")
        ADD_EVEN("v6", "v24", "v25", "v26", "v27")
        ADD_ODD("v7", "v28", "v29", "v30", "v31")
        "b.gt 2b\n\t"
        "add %[first], %[first], %[skip]\n\t"
        "add %[second], %[second], %[skip]\n\t"
        "add %[third], %[third], %[skip]\n\t"
        "add %[fourth], %[fourth], %[skip]\n\t"
        "subs %w[left], %w[left], #1\n\t"
        "b.gt 1b\n\t"
        "ldr q0, [%[bias]]\n\t"
        JOIN("v16", "v17", "v18", "v19")
        JOIN("v20", "v21", "v22", "v23")
        JOIN("v24", "v25", "v26", "v27")
        JOIN("v28", "v29", "v30", "v31")
        "str q16, [%[acc]]\n\t"
        "str q20, [%[acc], %[pixel]]\n\t"
        "str q24, [%[acc], 2 * %[pixel]]\n\t"
        "str q28, [%[acc], 3 * %[pixel]]\n\t"
        : [weights] "+r"(weights), [first] "+r"(first), [second] "+r"(second), [third] "+r"(third),
          [fourth] "+r"(fourth), [left] "+r"(left), [bytes] "=&r"(bytes)
        : [line_bytes] "r"(lines->bytes), [skip] "r"(skip), [bias] "r"(bias), [acc] "r"(acc),
          [pixel] "i"(QL_TILE_ROWS * sizeof(int32_t))
        : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11",
          "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24",
          "v25", "v26", "v27", "v28", "v29", "v30", "v31");
    /* clang-format on */
    return weights;
}

void ql_tile_neon(const int8_t *weights, const int32_t *bias, const int8_t *const *windows,
                  const ql_lines *lines, int32_t rows, int32_t *acc)
{
    for (int32_t row = 0; row < rows; row += 4) {
        weights = block(weights, &bias[row], windows, lines, &acc[row]);
    }
}

#else

void ql_tile_neon(const int8_t *weights, const int32_t *bias, const int8_t *const *windows,
                  const ql_lines *lines, int32_t rows, int32_t *acc)
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
