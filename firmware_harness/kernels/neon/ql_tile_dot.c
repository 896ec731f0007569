/* SPDX-License-Identifier: Apache-2.0 */
/* Sixteen rows by four pixels with the dot product (decision 0001); contract: ql_kernels_dot.h.
 *
 *     v0 - v3    four inputs of sixteen rows         v4 - v7    the next four
 *     v8 - v15   32 inputs of each pixel
 *     v16 - v31  sums: pixel 0 by sixteen rows, pixel 1, ...
 */
#include "ql_kernels_dot.h"

#if defined(__ARM_FEATURE_DOTPROD) && defined(__aarch64__)

/* Four inputs of a pixel (lane `lane` of `x`) by sixteen rows. */
#define ADD(x, lane, s0, s1, s2, s3, w0, w1, w2, w3)     \
    "sdot " s0 ".4s, " w0 ".16b, " x ".4b[" lane "]\n\t" \
    "sdot " s1 ".4s, " w1 ".16b, " x ".4b[" lane "]\n\t" \
    "sdot " s2 ".4s, " w2 ".16b, " x ".4b[" lane "]\n\t" \
    "sdot " s3 ".4s, " w3 ".16b, " x ".4b[" lane "]\n\t"
/* The same of four pixels, with weights from one of two sets of registers. */
#define ADD_EVEN(lane, x0, x1, x2, x3)                                        \
    "ld1 {v0.16b, v1.16b, v2.16b, v3.16b}, [%[weights]], #64\n\t" ADD(        \
        x0, lane, "v16", "v17", "v18", "v19", "v0", "v1", "v2", "v3")         \
        ADD(x1, lane, "v20", "v21", "v22", "v23", "v0", "v1", "v2", "v3")     \
            ADD(x2, lane, "v24", "v25", "v26", "v27", "v0", "v1", "v2", "v3") \
                ADD(x3, lane, "v28", "v29", "v30", "v31", "v0", "v1", "v2", "v3")
#define ADD_ODD(lane, x0, x1, x2, x3)                                         \
    "ld1 {v4.16b, v5.16b, v6.16b, v7.16b}, [%[weights]], #64\n\t" ADD(        \
        x0, lane, "v16", "v17", "v18", "v19", "v4", "v5", "v6", "v7")         \
        ADD(x1, lane, "v20", "v21", "v22", "v23", "v4", "v5", "v6", "v7")     \
            ADD(x2, lane, "v24", "v25", "v26", "v27", "v4", "v5", "v6", "v7") \
                ADD(x3, lane, "v28", "v29", "v30", "v31", "v4", "v5", "v6", "v7")
#define ADD_SIXTEEN(x0, x1, x2, x3) \
    ADD_EVEN("0", x0, x1, x2, x3)   \
    ADD_ODD("1", x0, x1, x2, x3) ADD_EVEN("2", x0, x1, x2, x3) ADD_ODD("3", x0, x1, x2, x3)

/* Sixteen rows by four pixels. */
static void block(const int8_t *weights, const int32_t *bias, const int8_t *const *windows,
                  const ql_runs *runs, int32_t *acc)
{
    const int8_t *first = windows[0];
    const int8_t *second = windows[1];
    const int8_t *third = windows[2];
    const int8_t *fourth = windows[3];
    int64_t stride = runs->stride;
    int64_t skip = runs->skip;
    int64_t pixel = QL_TILE_ROWS * sizeof(int32_t);
    int32_t left = runs->count;
    int32_t steps;
    /* clang-format off */
    __asm__ volatile(
        "ld1 {v16.4s, v17.4s, v18.4s, v19.4s}, [%[bias]]\n\t"
        "ld1 {v20.4s, v21.4s, v22.4s, v23.4s}, [%[bias]]\n\t"
        "ld1 {v24.4s, v25.4s, v26.4s, v27.4s}, [%[bias]]\n\t"
        "ld1 {v28.4s, v29.4s, v30.4s, v31.4s}, [%[bias]]\n\t"
        "1:\n\t"
        "mov %w[steps], %w[run]\n\t"
        "2:\n\t"
        "ld1 {v8.16b, v9.16b}, [%[first]], %[stride]\n\t"
        "ld1 {v10.16b, v11.16b}, [%[second]], %[stride]\n\t"
        "ld1 {v12.16b, v13.16b}, [%[third]], %[stride]\n\t"
        "ld1 {v14.16b, v15.16b}, [%[fourth]], %[stride]\n\t"
        "subs %w[steps], %w[steps], #1\n\t"
        ADD_SIXTEEN("v8", "v10", "v12", "v14")
        ADD_SIXTEEN("v9", "v11", "v13", "v15")
        "b.gt 2b\n\t"
        "subs %w[left], %w[left], #1\n\t"
        "add %[first], %[first], %[skip]\n\t"
        "add %[second], %[second], %[skip]\n\t"
        "add %[third], %[third], %[skip]\n\t"
        "add %[fourth], %[fourth], %[skip]\n\t"
        "b.gt 1b\n\t"
        "st1 {v16.4s, v17.4s, v18.4s, v19.4s}, [%[acc]], %[pixel]\n\t"
        "st1 {v20.4s, v21.4s, v22.4s, v23.4s}, [%[acc]], %[pixel]\n\t"
        "st1 {v24.4s, v25.4s, v26.4s, v27.4s}, [%[acc]], %[pixel]\n\t"
        "st1 {v28.4s, v29.4s, v30.4s, v31.4s}, [%[acc]]\n\t"
        : [weights] "+r"(weights), [first] "+r"(first), [second] "+r"(second), [third] "+r"(third),
          [fourth] "+r"(fourth), [left] "+r"(left), [steps] "=&r"(steps), [acc] "+r"(acc)
        : [run] "r"(runs->steps), [stride] "r"(stride), [skip] "r"(skip), [bias] "r"(bias),
          [pixel] "r"(pixel)
        : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11",
          "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24",
          "v25", "v26", "v27", "v28", "v29", "v30", "v31");
    /* clang-format on */
}

void ql_tile_dot(const ql_tile_rows *rows, int32_t first, int32_t count,
                 const int8_t *const *windows, int32_t *acc)
{
    int32_t bytes = rows->runs.count * rows->runs.steps * 32; /* of a row */
    for (int32_t row = 0; row < count; row += 16) {
        block(&rows->weights[(first + row) * bytes], &rows->bias[first + row], windows, &rows->runs,
              &acc[row]);
    }
}

#elif defined(__aarch64__)
#error "quarl: the dot product is off in this compiler; turn it on: +dotprod"
#else

void ql_tile_dot(const ql_tile_rows *rows, int32_t first, int32_t count,
                 const int8_t *const *windows, int32_t *acc)
{
    const ql_runs *runs = &rows->runs;
    int32_t steps = runs->count * runs->steps;
    int32_t padded = (count + 15) / 16 * 16;
    for (int32_t row = 0; row < padded; row++) {
        for (int32_t p = 0; p < QL_TILE_PIXELS; p++) {
            int32_t at = first + row;
            const int8_t *own = &rows->weights[at / 16 * steps * 512 + at % 16 * 4];
            const int8_t *step = windows[p];
            int32_t sum = rows->bias[at];
            for (int32_t s = 0; s < steps; s++) {
                for (int32_t i = 0; i < 32; i++) {
                    sum += own[s * 512 + i / 4 * 64 + i % 4] * step[i];
                }
                step += runs->stride + ((s + 1) % runs->steps == 0 ? runs->skip : 0);
            }
            acc[p * QL_TILE_ROWS + row] = sum;
        }
    }
}

#endif
