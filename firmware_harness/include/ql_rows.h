/* SPDX-License-Identifier: Apache-2.0 */
/* Rows by spread inputs, chunk by chunk (decision 0009). */
#ifndef QL_ROWS_H
#define QL_ROWS_H

#include "ql_kernels_dsp.h"

#include <stddef.h>

/* Results of all rows for the spread vectors `in`, behind which is what rows->sums wants. Inline,
 * so that the kernel of one lane has no code for two. lanes       1 or 2 of them acc         [lanes
 * * QL_LANE] words of scratch lane_bytes  from the first vector's results to the second's; 0: only
 * the first's are wanted */
static inline void ql_rows_dsp(const ql_rows *rows, int16_t *in, int32_t lanes, int32_t *acc,
                               int32_t lane_bytes, uint8_t *out)
{
    const int16_t *weights = rows->weights;
    int32_t first = 0;
    for (int32_t left = rows->out_len; left > 0; left -= QL_CHUNK) {
        int32_t count = left < QL_CHUNK ? left : QL_CHUNK;
        int32_t groups = (int32_t)((uint32_t)(count + QL_GROUP - 1) / QL_GROUP);
        if (rows->sums != NULL) {
            weights = rows->sums(rows, weights, in, lanes, groups, acc);
        } else {
            weights = rows->mac(weights, in, rows->steps, groups, acc);
        }
        rows->store(&rows->requant, first, count, acc, out);
        if (lane_bytes != 0) {
            rows->store(&rows->requant, first, count, &acc[QL_LANE], out + lane_bytes);
        }
        first += QL_CHUNK;
    }
}

#endif
