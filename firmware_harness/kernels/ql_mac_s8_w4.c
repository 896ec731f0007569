/* SPDX-License-Identifier: Apache-2.0 */
/* Two rows of 4-bit weights share each int8 input (decision 0001); contract: ql_kernels.h. */
#include "ql_kernels.h"

/* Apart from the outer loop so that all of it fits the eight low registers of a Cortex-M0. */
QL_NOINLINE static void two_rows(const int8_t *weights, const int8_t *in, int32_t in_len,
                                 int32_t *acc)
{
    int32_t both = acc[0];
    int32_t second = acc[1];
    int32_t i = in_len;
    do { /* downwards: the end needs no comparison */
        i--;
        int32_t value = in[i];
        int32_t weight = weights[i];
        both += weight * value;
        second += (int8_t)((uint32_t)weight << 4) * value; /* 16 times the low nibble */
    } while (i != 0);
    acc[0] = both;
    acc[1] = second;
}

const int8_t *ql_mac_s8_w4(const int8_t *weights, const int32_t *bias, const void *in,
                           int32_t in_len, int32_t rows, int32_t *acc)
{
    for (int32_t row = 0; row < rows; row += 2) {
        int32_t sums[2];
        sums[0] = 16 * bias[row] + bias[row + 1];
        sums[1] = 16 * bias[row + 1];
        two_rows(weights, (const int8_t *)in, in_len, sums);
        acc[row + 1] = sums[1] / 16;
        acc[row] = (sums[0] - acc[row + 1]) / 16;
        weights += in_len;
    }
    return weights;
}
