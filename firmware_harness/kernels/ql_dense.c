/* SPDX-License-Identifier: Apache-2.0 */
/* Fully connected layer (decision 0001); contract: ql_kernels.h. */
#include "ql_kernels.h"

void ql_dense(const ql_dense_layer *layer, const void *in, void *out)
{
    int32_t acc[QL_CHUNK];
    const int8_t *weights = layer->weights;
    for (int32_t first = 0; first < layer->out_len; first += QL_CHUNK) {
        int32_t left = layer->out_len - first;
        int32_t rows = left < QL_CHUNK ? left : QL_CHUNK;
        weights = layer->mac(weights, &layer->bias[first], in, layer->in_len, rows, acc);
        layer->store(&layer->requant, first, rows, acc, out);
    }
}
