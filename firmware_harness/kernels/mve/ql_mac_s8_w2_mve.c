/* SPDX-License-Identifier: Apache-2.0 */
/* Four rows of 2-bit weights share sixteen int8 inputs with Helium (decision 0001);
 * contract: ql_kernels_mve.h. */
#include "ql_kernels_mve.h"

/* A row's sum is a 64th of what its place in a byte adds: sums[row] is of bytes shifted by 2 * row,
 * which drops the rows above. */
static inline void take(const int32_t *sums, const int32_t *bias, int32_t *acc)
{
    acc[0] = bias[0] + (sums[0] - sums[1] / 4) / 64;
    acc[1] = bias[1] + (sums[1] - sums[2] / 4) / 64;
    acc[2] = bias[2] + (sums[2] - sums[3] / 4) / 64;
    acc[3] = bias[3] + sums[3] / 64;
}

#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>

static inline void add_block(int32_t *sums, int8x16_t input, int8x16_t four)
{
    sums[0] = vmladavaq_s8(sums[0], input, four);
    sums[1] = vmladavaq_s8(sums[1], input, vshlq_n_s8(four, 2));
    sums[2] = vmladavaq_s8(sums[2], input, vshlq_n_s8(four, 4));
    sums[3] = vmladavaq_s8(sums[3], input, vshlq_n_s8(four, 6));
}

/* A lane's shift drops rows: unpacking three of four takes one instruction each for sixteen
 * weights.
 */
const int8_t *ql_mac_s8_w2_mve(const int8_t *weights, const int32_t *bias, const void *in,
                               int32_t in_len, int32_t rows, int32_t *acc)
{
    for (int32_t row = 0; row < rows; row += QL_MVE_ROWS) {
        const int8_t *values = (const int8_t *)in;
        int32_t sums[QL_MVE_ROWS] = {0, 0, 0, 0};
        for (int32_t blocks = in_len / QL_MVE_LANES; blocks > 0; blocks--) {
            add_block(sums, vldrbq_s8(values), vldrbq_s8(weights));
            values += QL_MVE_LANES;
            weights += QL_MVE_LANES;
        }
        if (in_len % QL_MVE_LANES != 0) { /* lanes beyond the end are read as zero */
            mve_pred16_t inside = vctp8q((uint32_t)(in_len % QL_MVE_LANES));
            add_block(sums, vldrbq_z_s8(values, inside), vldrbq_s8(weights));
            weights += QL_MVE_LANES;
        }
        take(sums, &bias[row], &acc[row]);
    }
    return weights;
}

#elif defined(__arm__)
#error "quarl: MVE is off in this compiler; turn it on, or export for a board without it"
#else

const int8_t *ql_mac_s8_w2_mve(const int8_t *weights, const int32_t *bias, const void *in,
                               int32_t in_len, int32_t rows, int32_t *acc)
{
    const int8_t *values = (const int8_t *)in;
    for (int32_t row = 0; row < rows; row += QL_MVE_ROWS) {
        int32_t sums[QL_MVE_ROWS] = {0, 0, 0, 0};
        for (int32_t i = 0; i < in_len; i++) {
            for (int32_t place = 0; place < QL_MVE_ROWS; place++) {
                sums[place] += (int8_t)((uint32_t)weights[i] << 2 * place) * values[i];
            }
        }
        take(sums, &bias[row], &acc[row]);
        weights += (in_len + QL_MVE_LANES - 1) / QL_MVE_LANES * QL_MVE_LANES;
    }
    return weights;
}

#endif
