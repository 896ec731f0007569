/* SPDX-License-Identifier: Apache-2.0 */
/* Packed rows by inputs in several parts (decision 0009); contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

const int16_t *ql_sums_dsp(const ql_rows *rows, const int16_t *weights, int16_t *in, int32_t lanes,
                           int32_t groups, int32_t *acc)
{
    int32_t *more = (int32_t *)(void *)&in[rows->steps * QL_STEP * lanes];
    weights = rows->mac(weights, in, rows->part, groups, acc);
    for (int32_t at = rows->part; at < rows->steps; at += rows->part) {
        int32_t left = rows->steps - at;
        int32_t steps = left < rows->part ? left : rows->part;
        more[QL_CHUNK] = 0; /* 4-bit weights: all is taken with the first part */
        more[(lanes - 1) * QL_LANE + QL_CHUNK] = 0;
        weights = rows->mac(weights, &in[at * QL_STEP * lanes], steps, groups, more);
        for (int32_t lane = 0; lane < lanes; lane++) {
            for (int32_t row = lane * QL_LANE; row < lane * QL_LANE + QL_CHUNK; row++) {
                acc[row] += more[row];
            }
        }
    }
    return weights;
}
