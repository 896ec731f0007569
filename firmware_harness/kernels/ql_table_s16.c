/* SPDX-License-Identifier: Apache-2.0 */
/* Table of int16, of int16; contract: ql_kernels.h. */
#include "ql_kernels.h"

void ql_table_s16(const ql_table_layer *layer, const void *in, void *out)
{
    const int16_t *table = (const int16_t *)layer->table - layer->qmin;
    const int16_t *values = (const int16_t *)in;
    int16_t *results = (int16_t *)out;
    for (int32_t i = 0; i < layer->count; i++) {
        results[i] = table[values[i]];
    }
}
