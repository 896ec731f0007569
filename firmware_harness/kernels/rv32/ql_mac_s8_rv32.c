/* SPDX-License-Identifier: Apache-2.0 */
/* Four rows share each int8 input (decision 0001); contract: ql_kernels_rv32.h. */
#include "ql_kernels_rv32.h"

/* Adds inputs from `in` up to `end` times four rows' weights to sums[4]; returns what follows the
 * weights. */
static const int8_t *add(const int8_t *weights, const int8_t *in, const int8_t *end, int32_t *sums)
{
    for (; in < end; in++) {
        for (int32_t row = 0; row < 4; row++) {
            sums[row] += weights[row] * *in;
        }
        weights += 4;
    }
    return weights;
}

#if defined(__riscv) && __riscv_xlen == 32

enum { STEP = 8 };

/* One input for four rows: 13 instructions for 4 products; no load is used by the next instruction.
 * x the input, w0 to w3 the rows' weights and products. */
#define QL_TAP(k)                          \
    "lb %[x], " #k "(%[in])\n\t"           \
    "lb %[w0], 4*" #k "+0(%[weights])\n\t" \
    "lb %[w1], 4*" #k "+1(%[weights])\n\t" \
    "lb %[w2], 4*" #k "+2(%[weights])\n\t" \
    "lb %[w3], 4*" #k "+3(%[weights])\n\t" \
    "mul %[w0], %[w0], %[x]\n\t"           \
    "mul %[w1], %[w1], %[x]\n\t"           \
    "mul %[w2], %[w2], %[x]\n\t"           \
    "mul %[w3], %[w3], %[x]\n\t"           \
    "add %[sum0], %[sum0], %[w0]\n\t"      \
    "add %[sum1], %[sum1], %[w1]\n\t"      \
    "add %[sum2], %[sum2], %[w2]\n\t"      \
    "add %[sum3], %[sum3], %[w3]\n\t"

/* As `add`, for at least one step of 8 inputs: 107 instructions for 32 products. */
static const int8_t *add_steps(const int8_t *weights, const int8_t *in, const int8_t *end,
                               int32_t *sums)
{
    int32_t x, w0, w1, w2, w3;
    /* clang-format off */
    __asm__ volatile(
        "1:\n\t"
        QL_TAP(0) QL_TAP(1) QL_TAP(2) QL_TAP(3) QL_TAP(4) QL_TAP(5) QL_TAP(6) QL_TAP(7)
        "addi %[in], %[in], 8\n\t"
        "addi %[weights], %[weights], 32\n\t"
        "bltu %[in], %[end], 1b"
        : [in] "+r"(in), [weights] "+r"(weights), [sum0] "+r"(sums[0]), [sum1] "+r"(sums[1]),
          [sum2] "+r"(sums[2]), [sum3] "+r"(sums[3]), [x] "=&r"(x), [w0] "=&r"(w0),
          [w1] "=&r"(w1), [w2] "=&r"(w2), [w3] "=&r"(w3)
        : [end] "r"(end)
        : "memory");
    /* clang-format on */
    return weights;
}

#else

enum { STEP = 1 };

static const int8_t *add_steps(const int8_t *weights, const int8_t *in, const int8_t *end,
                               int32_t *sums)
{
    return add(weights, in, end, sums);
}

#endif

const int8_t *ql_mac_s8_rv32(const int8_t *weights, const int32_t *bias, const void *in,
                             int32_t in_len, int32_t rows, int32_t *acc)
{
    const int8_t *begin = (const int8_t *)in;
    const int8_t *end = begin + in_len;
    const int8_t *last = begin + (in_len & -STEP); /* the end of whole steps */
    for (int32_t row = 0; row < rows; row += 4) {
        for (int32_t i = row; i < row + 4; i++) {
            acc[i] = bias[i];
        }
        if (begin < last) {
            weights = add_steps(weights, begin, last, &acc[row]);
        }
        weights = add(weights, last, end, &acc[row]);
    }
    return weights;
}
