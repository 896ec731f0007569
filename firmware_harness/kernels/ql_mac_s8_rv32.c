/* SPDX-License-Identifier: Apache-2.0 */
/* Four rows share each int8 input (decision 0001); contract: ql_kernels_rv32.h. */
/* needs: ql_mac_s8 */
#include "ql_kernels_rv32.h"

enum { ROWS = 4, STEP = 8 };

#if defined(__riscv) && __riscv_xlen == 32

/* One input for four rows: 13 instructions for 4 products; no load is used by the next instruction.
 * x the input, w0 to w3 the rows' weights and products. */
#define QL_TAP(k)                     \
    "lb %[x], " #k "(%[in])\n\t"      \
    "lb %[w0], " #k "(%[row0])\n\t"   \
    "lb %[w1], " #k "(%[row1])\n\t"   \
    "lb %[w2], " #k "(%[row2])\n\t"   \
    "lb %[w3], " #k "(%[row3])\n\t"   \
    "mul %[w0], %[w0], %[x]\n\t"      \
    "mul %[w1], %[w1], %[x]\n\t"      \
    "mul %[w2], %[w2], %[x]\n\t"      \
    "mul %[w3], %[w3], %[x]\n\t"      \
    "add %[sum0], %[sum0], %[w0]\n\t" \
    "add %[sum1], %[sum1], %[w1]\n\t" \
    "add %[sum2], %[sum2], %[w2]\n\t" \
    "add %[sum3], %[sum3], %[w3]\n\t"

/* Steps of 8 inputs: 110 instructions for 32 products.
 *
 *   in           the input's next bytes, up to end
 *   row0 to row3 the weights' next bytes
 *   sum0 to sum3 the accumulators */
#define QL_STEPS()                                                                                 \
    do {                                                                                           \
        int32_t x, w0, w1, w2, w3;                                                                 \
        __asm__ volatile("1:\n\t" QL_TAP(0) QL_TAP(1) QL_TAP(2) QL_TAP(3) QL_TAP(4) QL_TAP(5)      \
                             QL_TAP(6) QL_TAP(7) "addi %[in], %[in], 8\n\t"                        \
                                                 "addi %[row0], %[row0], 8\n\t"                    \
                                                 "addi %[row1], %[row1], 8\n\t"                    \
                                                 "addi %[row2], %[row2], 8\n\t"                    \
                                                 "addi %[row3], %[row3], 8\n\t"                    \
                                                 "bltu %[in], %[end], 1b"                          \
                         : [in] "+r"(in), [row0] "+r"(row0), [row1] "+r"(row1), [row2] "+r"(row2), \
                           [row3] "+r"(row3), [sum0] "+r"(sum0), [sum1] "+r"(sum1),                \
                           [sum2] "+r"(sum2), [sum3] "+r"(sum3), [x] "=&r"(x), [w0] "=&r"(w0),     \
                           [w1] "=&r"(w1), [w2] "=&r"(w2), [w3] "=&r"(w3)                          \
                         : [end] "r"(end)                                                          \
                         : "memory");                                                              \
    } while (0)

#else

#define QL_STEPS()               \
    while (in < end) {           \
        int32_t value = *in++;   \
        sum0 += *row0++ * value; \
        sum1 += *row1++ * value; \
        sum2 += *row2++ * value; \
        sum3 += *row3++ * value; \
    }

#endif

static void four_rows(const int8_t *row0, const int8_t *in, int32_t in_len, int32_t *acc)
{
    const int8_t *row1 = row0 + in_len;
    const int8_t *row2 = row1 + in_len;
    const int8_t *row3 = row2 + in_len;
    const int8_t *stop = in + in_len;
    const int8_t *end = in + (in_len & -STEP);
    int32_t sum0 = acc[0];
    int32_t sum1 = acc[1];
    int32_t sum2 = acc[2];
    int32_t sum3 = acc[3];
    if (in < end) {
        QL_STEPS();
    }
    while (in < stop) {
        int32_t value = *in++;
        sum0 += *row0++ * value;
        sum1 += *row1++ * value;
        sum2 += *row2++ * value;
        sum3 += *row3++ * value;
    }
    acc[0] = sum0;
    acc[1] = sum1;
    acc[2] = sum2;
    acc[3] = sum3;
}

const int8_t *ql_mac_s8_rv32(const int8_t *weights, const int32_t *bias, const void *in,
                             int32_t in_len, int32_t rows, int32_t *acc)
{
    int32_t row = 0;
    for (; row + ROWS <= rows; row += ROWS) {
        for (int32_t i = row; i < row + ROWS; i++) {
            acc[i] = bias[i];
        }
        four_rows(weights, (const int8_t *)in, in_len, &acc[row]);
        weights += ROWS * in_len;
    }
    return row < rows ? ql_mac_s8(weights, &bias[row], in, in_len, rows - row, &acc[row]) : weights;
}
