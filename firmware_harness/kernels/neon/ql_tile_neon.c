/* SPDX-License-Identifier: Apache-2.0 */
/* Four rows by four pixels with NEON (decision 0001); contract: ql_kernels_neon.h.
 *
 *     v0 - v3    sixteen weights of each row         v4 - v7    the next sixteen
 *     v8 v9      32 inputs of a pixel                v10 - v13  four rows' products, int16
 *     v16 - v31  sums: pixel 0 by rows 0 to 3, pixel 1, ...
 */
#include "ql_kernels_neon.h"

#if defined(__aarch64__)

/* Sixteen products of each row with `x`: t = w * x, or t += w * x. Compilers run out of registers
 * here and keep sums in memory. */
#define MULTIPLY(x, w0, w1, w2, w3)            \
    "smull v10.8h, " w0 ".8b, " x ".8b\n\t"    \
    "smull v11.8h, " w1 ".8b, " x ".8b\n\t"    \
    "smull v12.8h, " w2 ".8b, " x ".8b\n\t"    \
    "smull v13.8h, " w3 ".8b, " x ".8b\n\t"    \
    "smlal2 v10.8h, " w0 ".16b, " x ".16b\n\t" \
    "smlal2 v11.8h, " w1 ".16b, " x ".16b\n\t" \
    "smlal2 v12.8h, " w2 ".16b, " x ".16b\n\t" \
    "smlal2 v13.8h, " w3 ".16b, " x ".16b\n\t"
#define MULTIPLY_MORE(x, w0, w1, w2, w3)       \
    "smlal v10.8h, " w0 ".8b, " x ".8b\n\t"    \
    "smlal v11.8h, " w1 ".8b, " x ".8b\n\t"    \
    "smlal v12.8h, " w2 ".8b, " x ".8b\n\t"    \
    "smlal v13.8h, " w3 ".8b, " x ".8b\n\t"    \
    "smlal2 v10.8h, " w0 ".16b, " x ".16b\n\t" \
    "smlal2 v11.8h, " w1 ".16b, " x ".16b\n\t" \
    "smlal2 v12.8h, " w2 ".16b, " x ".16b\n\t" \
    "smlal2 v13.8h, " w3 ".16b, " x ".16b\n\t"
#define ADD(s0, s1, s2, s3)        \
    "sadalp " s0 ".4s, v10.8h\n\t" \
    "sadalp " s1 ".4s, v11.8h\n\t" \
    "sadalp " s2 ".4s, v12.8h\n\t" \
    "sadalp " s3 ".4s, v13.8h\n\t"
#define FRONT "v0", "v1", "v2", "v3"
#define BACK "v4", "v5", "v6", "v7"
#define LOAD(pixel) "ld1 {v8.16b, v9.16b}, [%[" pixel "]], %[stride]\n\t"
/* A pixel's 32 inputs: four products in an int16, or two. */
#define BY_FOUR(pixel, ...) \
    LOAD(pixel) EXPAND(MULTIPLY, "v8", FRONT) EXPAND(MULTIPLY_MORE, "v9", BACK) ADD(__VA_ARGS__)
#define BY_TWO(pixel, ...) \
    LOAD(pixel)            \
    EXPAND(MULTIPLY, "v8", FRONT) ADD(__VA_ARGS__) EXPAND(MULTIPLY, "v9", BACK) ADD(__VA_ARGS__)
#define EXPAND(macro, ...) macro(__VA_ARGS__)
#define PIXELS(by)                                                                   \
    by("first", "v16", "v17", "v18", "v19") by("second", "v20", "v21", "v22", "v23") \
        by("third", "v24", "v25", "v26", "v27") by("fourth", "v28", "v29", "v30", "v31")
/* The four parts of four rows' sums become one vector, bias added. */
#define JOIN(s0, s1, s2, s3)                   \
    "addp " s0 ".4s, " s0 ".4s, " s1 ".4s\n\t" \
    "addp " s2 ".4s, " s2 ".4s, " s3 ".4s\n\t" \
    "addp " s0 ".4s, " s0 ".4s, " s2 ".4s\n\t" \
    "add " s0 ".4s, " s0 ".4s, v0.4s\n\t"
#define CLEAR(s) "movi " s ".4s, #0\n\t"

/* Four rows by four pixels. */
static void block(const int8_t *weights, const int8_t *is_wide, const int32_t *bias,
                  const int8_t *const *windows, const ql_runs *runs, int32_t *acc)
{
    const int8_t *first = windows[0];
    const int8_t *second = windows[1];
    const int8_t *third = windows[2];
    const int8_t *fourth = windows[3];
    int64_t stride = runs->stride;
    int64_t skip = runs->skip;
    int32_t left = runs->count;
    int32_t steps;
    uint32_t wide;
    /* clang-format off */
    __asm__ volatile(
        CLEAR("v16") CLEAR("v17") CLEAR("v18") CLEAR("v19")
        CLEAR("v20") CLEAR("v21") CLEAR("v22") CLEAR("v23")
        CLEAR("v24") CLEAR("v25") CLEAR("v26") CLEAR("v27")
        CLEAR("v28") CLEAR("v29") CLEAR("v30") CLEAR("v31")
        "1:\n\t"
        "mov %w[steps], %w[run]\n\t"
        "2:\n\t"
        "ldrb %w[wide], [%[is_wide]], #1\n\t"
        "ld1 {v0.16b, v1.16b, v2.16b, v3.16b}, [%[weights]], #64\n\t"
        "ld1 {v4.16b, v5.16b, v6.16b, v7.16b}, [%[weights]], #64\n\t"
        "subs %w[steps], %w[steps], #1\n\t"
        "cbnz %w[wide], 4f\n\t"
        PIXELS(BY_FOUR)
        "b.gt 2b\n\t"
        "3:\n\t"
        "subs %w[left], %w[left], #1\n\t"
        "add %[first], %[first], %[skip]\n\t"
        "add %[second], %[second], %[skip]\n\t"
        "add %[third], %[third], %[skip]\n\t"
        "add %[fourth], %[fourth], %[skip]\n\t"
        "b.gt 1b\n\t"
        "b 5f\n\t"
        "4:\n\t"
        PIXELS(BY_TWO)
        "b.gt 2b\n\t"
        "b 3b\n\t"
        "5:\n\t"
        "ldr q0, [%[bias]]\n\t"
        JOIN("v16", "v17", "v18", "v19")
        JOIN("v20", "v21", "v22", "v23")
        JOIN("v24", "v25", "v26", "v27")
        JOIN("v28", "v29", "v30", "v31")
        "str q16, [%[acc]]\n\t"
        "str q20, [%[acc], %[pixel]]\n\t"
        "str q24, [%[acc], 2 * %[pixel]]\n\t"
        "str q28, [%[acc], 3 * %[pixel]]\n\t"
        : [weights] "+r"(weights), [is_wide] "+r"(is_wide), [first] "+r"(first),
          [second] "+r"(second), [third] "+r"(third), [fourth] "+r"(fourth), [left] "+r"(left),
          [steps] "=&r"(steps), [wide] "=&r"(wide)
        : [run] "r"(runs->steps), [stride] "r"(stride), [skip] "r"(skip), [bias] "r"(bias),
          [acc] "r"(acc), [pixel] "i"(QL_TILE_ROWS * sizeof(int32_t))
        : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11",
          "v12", "v13", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26",
          "v27", "v28", "v29", "v30", "v31");
    /* clang-format on */
}

void ql_tile_neon(const ql_tile_rows *rows, int32_t first, int32_t count,
                  const int8_t *const *windows, int32_t *acc)
{
    int32_t steps = rows->runs.count * rows->runs.steps;
    for (int32_t row = 0; row < count; row += 4) {
        int32_t group = (first + row) / 4;
        block(&rows->weights[group * steps * 128], &rows->is_wide[group * steps],
              &rows->bias[first + row], windows, &rows->runs, &acc[row]);
    }
}

#else

void ql_tile_neon(const ql_tile_rows *rows, int32_t first, int32_t count,
                  const int8_t *const *windows, int32_t *acc)
{
    const ql_runs *runs = &rows->runs;
    int32_t steps = runs->count * runs->steps;
    int32_t padded = (count + 3) / 4 * 4;
    for (int32_t row = 0; row < padded; row++) {
        for (int32_t p = 0; p < QL_TILE_PIXELS; p++) {
            int32_t at = first + row;
            const int8_t *own = &rows->weights[at / 4 * steps * 128 + at % 4 * 16];
            const int8_t *step = windows[p];
            int32_t sum = rows->bias[at];
            for (int32_t s = 0; s < steps; s++) {
                for (int32_t i = 0; i < 32; i++) {
                    sum += own[s * 128 + i / 16 * 64 + i % 16] * step[i];
                }
                step += runs->stride + ((s + 1) % runs->steps == 0 ? runs->skip : 0);
            }
            acc[p * QL_TILE_ROWS + row] = sum;
        }
    }
}

#endif
