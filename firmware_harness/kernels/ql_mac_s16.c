/* SPDX-License-Identifier: Apache-2.0 */
/* Two rows share each int16 input (decision 0001); contract: ql_kernels.h. */
#include "ql_kernels.h"

/* Two rows share each input; apart from the outer loop so that all of it fits the eight low
 * registers of a Cortex-M0. */
QL_NOINLINE static void two_rows(const int8_t *first, const int8_t *second, const int16_t *in,
                                 int32_t in_len, int32_t *acc)
{
    int32_t sum0 = acc[0];
    int32_t sum1 = acc[1];
    int32_t i = in_len;
    do { /* downwards: the end needs no comparison */
        i--;
        int32_t value = in[i];
        sum0 += first[i] * value;
        sum1 += second[i] * value;
    } while (i != 0);
    acc[0] = sum0;
    acc[1] = sum1;
}

const int8_t *ql_mac_s16(const int8_t *weights, const int32_t *bias, const void *in, int32_t in_len,
                         int32_t rows, int32_t *acc)
{
    for (int32_t row = 0; row < rows; row += 2) {
        int32_t sums[2];
        int32_t has_second = row + 1 < rows;
        /* an odd last row is its own second */
        const int8_t *second = &weights[has_second * in_len];
        sums[0] = bias[row];
        sums[1] = bias[row + has_second];
        two_rows(weights, second, (const int16_t *)in, in_len, sums);
        acc[row] = sums[0];
        acc[row + has_second] = sums[has_second];
        weights = second + in_len;
    }
    return weights;
}
