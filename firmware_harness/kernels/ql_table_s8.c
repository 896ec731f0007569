/* SPDX-License-Identifier: Apache-2.0 */
/* Table of int8; contract: ql_kernels.h. */
#include "ql_kernels.h"

void ql_table_s8(const ql_table_layer *layer, const void *in, void *out)
{
    const int8_t *table = (const int8_t *)layer->table - layer->qmin;
    const int8_t *values = (const int8_t *)in;
    int8_t *results = (int8_t *)out;
    for (int32_t i = 0; i < layer->count; i++) {
        results[i] = table[values[i]];
    }
}
