/* SPDX-License-Identifier: Apache-2.0 */
/* Four rows share sixteen int8 inputs with Helium (decision 0001); contract: ql_kernels_mve.h. */
#include "ql_kernels_mve.h"

#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>

const int8_t *ql_mac_s8_mve(const int8_t *weights, const int32_t *bias, const void *in,
                            int32_t in_len, int32_t rows, int32_t *acc)
{
    for (int32_t row = 0; row < rows; row += QL_MVE_ROWS) {
        const int8_t *values = (const int8_t *)in;
        int32_t sum0 = bias[row];
        int32_t sum1 = bias[row + 1];
        int32_t sum2 = bias[row + 2];
        int32_t sum3 = bias[row + 3];
        for (int32_t blocks = in_len / QL_MVE_LANES; blocks > 0; blocks--) {
            int8x16_t input = vldrbq_s8(values);
            sum0 = vmladavaq_s8(sum0, input, vldrbq_s8(weights));
            sum1 = vmladavaq_s8(sum1, input, vldrbq_s8(weights + 16));
            sum2 = vmladavaq_s8(sum2, input, vldrbq_s8(weights + 32));
            sum3 = vmladavaq_s8(sum3, input, vldrbq_s8(weights + 48));
            values += QL_MVE_LANES;
            weights += QL_MVE_ROWS * QL_MVE_LANES;
        }
        if (in_len % QL_MVE_LANES != 0) { /* lanes beyond the end are read as zero */
            int8x16_t input = vldrbq_z_s8(values, vctp8q((uint32_t)(in_len % QL_MVE_LANES)));
            sum0 = vmladavaq_s8(sum0, input, vldrbq_s8(weights));
            sum1 = vmladavaq_s8(sum1, input, vldrbq_s8(weights + 16));
            sum2 = vmladavaq_s8(sum2, input, vldrbq_s8(weights + 32));
            sum3 = vmladavaq_s8(sum3, input, vldrbq_s8(weights + 48));
            weights += QL_MVE_ROWS * QL_MVE_LANES;
        }
        acc[row] = sum0;
        acc[row + 1] = sum1;
        acc[row + 2] = sum2;
        acc[row + 3] = sum3;
    }
    return weights;
}

#elif defined(__arm__)
#error "quarl: MVE is off in this compiler; turn it on, or export for a board without it"
#else

const int8_t *ql_mac_s8_mve(const int8_t *weights, const int32_t *bias, const void *in,
                            int32_t in_len, int32_t rows, int32_t *acc)
{
    const int8_t *values = (const int8_t *)in;
    int32_t blocks = (in_len + QL_MVE_LANES - 1) / QL_MVE_LANES;
    for (int32_t row = 0; row < rows; row++) {
        const int8_t *group =
            &weights[(row & ~3) * blocks * QL_MVE_LANES + (row & 3) * QL_MVE_LANES];
        int32_t sum = bias[row];
        for (int32_t i = 0; i < in_len; i++) {
            sum +=
                group[i / QL_MVE_LANES * QL_MVE_ROWS * QL_MVE_LANES + i % QL_MVE_LANES] * values[i];
        }
        acc[row] = sum;
    }
    return &weights[((rows + 3) & ~3) * blocks * QL_MVE_LANES];
}

#endif
