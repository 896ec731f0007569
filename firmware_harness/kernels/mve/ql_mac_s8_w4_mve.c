/* SPDX-License-Identifier: Apache-2.0 */
/* Four rows of 4-bit weights share sixteen int8 inputs with Helium (decision 0001);
 * contract: ql_kernels_mve.h. */
#include "ql_kernels_mve.h"

#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>

/* A lane's shift drops the first row's nibble: unpacking the second row takes one instruction for
 * sixteen weights. */
const int8_t *ql_mac_s8_w4_mve(const int8_t *weights, const int32_t *bias, const void *in,
                               int32_t in_len, int32_t rows, int32_t *acc)
{
    for (int32_t row = 0; row < rows; row += QL_MVE_ROWS) {
        const int8_t *values = (const int8_t *)in;
        int32_t both0 = 16 * bias[row] + bias[row + 1];
        int32_t second0 = 16 * bias[row + 1];
        int32_t both1 = 16 * bias[row + 2] + bias[row + 3];
        int32_t second1 = 16 * bias[row + 3];
        for (int32_t blocks = in_len / QL_MVE_LANES; blocks > 0; blocks--) {
            int8x16_t input = vldrbq_s8(values);
            int8x16_t pair0 = vldrbq_s8(weights);
            int8x16_t pair1 = vldrbq_s8(weights + 16);
            both0 = vmladavaq_s8(both0, input, pair0);
            second0 = vmladavaq_s8(second0, input, vshlq_n_s8(pair0, 4));
            both1 = vmladavaq_s8(both1, input, pair1);
            second1 = vmladavaq_s8(second1, input, vshlq_n_s8(pair1, 4));
            values += QL_MVE_LANES;
            weights += QL_MVE_ROWS / 2 * QL_MVE_LANES;
        }
        if (in_len % QL_MVE_LANES != 0) { /* lanes beyond the end are read as zero */
            int8x16_t input = vldrbq_z_s8(values, vctp8q((uint32_t)(in_len % QL_MVE_LANES)));
            int8x16_t pair0 = vldrbq_s8(weights);
            int8x16_t pair1 = vldrbq_s8(weights + 16);
            both0 = vmladavaq_s8(both0, input, pair0);
            second0 = vmladavaq_s8(second0, input, vshlq_n_s8(pair0, 4));
            both1 = vmladavaq_s8(both1, input, pair1);
            second1 = vmladavaq_s8(second1, input, vshlq_n_s8(pair1, 4));
            weights += QL_MVE_ROWS / 2 * QL_MVE_LANES;
        }
        acc[row + 1] = second0 / 16;
        acc[row] = (both0 - acc[row + 1]) / 16;
        acc[row + 3] = second1 / 16;
        acc[row + 2] = (both1 - acc[row + 3]) / 16;
    }
    return weights;
}

#elif defined(__arm__)
#error "quarl: MVE is off in this compiler; turn it on, or export for a board without it"
#else

const int8_t *ql_mac_s8_w4_mve(const int8_t *weights, const int32_t *bias, const void *in,
                               int32_t in_len, int32_t rows, int32_t *acc)
{
    const int8_t *values = (const int8_t *)in;
    int32_t blocks = (in_len + QL_MVE_LANES - 1) / QL_MVE_LANES;
    for (int32_t row = 0; row < rows; row += 2) {
        const int8_t *group =
            &weights[(row & ~3) / 2 * blocks * QL_MVE_LANES + (row & 2) / 2 * QL_MVE_LANES];
        int32_t both = 16 * bias[row] + bias[row + 1];
        int32_t second = 16 * bias[row + 1];
        for (int32_t i = 0; i < in_len; i++) {
            int32_t weight =
                group[i / QL_MVE_LANES * (QL_MVE_ROWS / 2) * QL_MVE_LANES + i % QL_MVE_LANES];
            both += weight * values[i];
            second += (int8_t)((uint32_t)weight << 4) * values[i];
        }
        acc[row + 1] = second / 16;
        acc[row] = (both - acc[row + 1]) / 16;
    }
    return &weights[((rows + 3) & ~3) / 2 * blocks * QL_MVE_LANES];
}

#endif
