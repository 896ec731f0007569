/* SPDX-License-Identifier: Apache-2.0 */
/* Table with int16 on one side; contract: ql_kernels.h. */
#include "ql_kernels.h"

void ql_table_wide(const ql_table_layer *layer, const void *in, void *out)
{
    for (int32_t i = 0; i < layer->count; i++) {
        int32_t value = layer->in_bytes == 1 ? ((const int8_t *)in)[i] : ((const int16_t *)in)[i];
        if (layer->out_bytes == 1) {
            ((int8_t *)out)[i] = ((const int8_t *)layer->table)[value - layer->qmin];
        } else {
            ((int16_t *)out)[i] = ((const int16_t *)layer->table)[value - layer->qmin];
        }
    }
}
