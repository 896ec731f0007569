/* SPDX-License-Identifier: Apache-2.0 */
/* Fully connected layer with the dot product (decision 0001); contract: ql_kernels_dot.h. */
/* needs: ql_mac_dot */
#include "ql_kernels_dot.h"

void ql_dense_dot(const ql_dense_neon_layer *layer, const int8_t *in, void *out)
{
    int32_t acc[QL_NEON_CHUNK];
    int32_t padded_len = (layer->in_len + 3) / 4 * 4;
    for (int32_t first = 0; first < layer->out_len; first += QL_NEON_CHUNK) {
        int32_t left = layer->out_len - first;
        int32_t rows = left < QL_NEON_CHUNK ? left : QL_NEON_CHUNK;
        ql_mac_dot(&layer->weights[first * padded_len], &layer->bias[first], in, layer->in_len,
                   rows, acc);
        layer->store(&layer->requant, first, rows, acc, out);
    }
}
