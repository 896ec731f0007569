/* SPDX-License-Identifier: Apache-2.0 */
/* Four rows share eight int16 inputs with Helium (decision 0001); contract: ql_kernels_mve.h. */
#include "ql_kernels_mve.h"

#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>

/* Half a block at a time: eight weights widened while they are loaded. */
const int8_t *ql_mac_s16_mve(const int8_t *weights, const int32_t *bias, const void *in,
                             int32_t in_len, int32_t rows, int32_t *acc)
{
    for (int32_t row = 0; row < rows; row += QL_MVE_ROWS) {
        const int16_t *values = (const int16_t *)in;
        int32_t sum0 = bias[row];
        int32_t sum1 = bias[row + 1];
        int32_t sum2 = bias[row + 2];
        int32_t sum3 = bias[row + 3];
        int32_t left = in_len;
        for (int32_t half = 0; left > 0; half ^= 1) {
            mve_pred16_t inside =
                vctp16q((uint32_t)left); /* lanes beyond the end are read as zero */
            int16x8_t input = vldrhq_z_s16(values, inside);
            sum0 = vmladavaq_s16(sum0, input, vldrbq_s16(weights));
            sum1 = vmladavaq_s16(sum1, input, vldrbq_s16(weights + 16));
            sum2 = vmladavaq_s16(sum2, input, vldrbq_s16(weights + 32));
            sum3 = vmladavaq_s16(sum3, input, vldrbq_s16(weights + 48));
            values += 8;
            left -= 8;
            weights += half == 0 ? 8 : QL_MVE_ROWS * QL_MVE_LANES - 8;
        }
        int32_t last = in_len % QL_MVE_LANES;
        if (last != 0 && last <= 8) { /* the last block's second half was not needed */
            weights += QL_MVE_ROWS * QL_MVE_LANES - 8;
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

const int8_t *ql_mac_s16_mve(const int8_t *weights, const int32_t *bias, const void *in,
                             int32_t in_len, int32_t rows, int32_t *acc)
{
    const int16_t *values = (const int16_t *)in;
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
