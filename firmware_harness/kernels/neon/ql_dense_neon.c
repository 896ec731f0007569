/* SPDX-License-Identifier: Apache-2.0 */
/* Fully connected layer with NEON (decision 0001); contract: ql_kernels_neon.h. */
/* needs: ql_spread_neon, ql_mac_neon */
#include "ql_kernels_neon.h"

void ql_dense_neon(const ql_dense_neon_layer *layer, const int8_t *in, int8_t *scratch, void *out)
{
    int32_t acc[QL_NEON_CHUNK];
    int32_t groups = (layer->in_len + 7) / 8 * 2;
    ql_spread_neon(in, layer->in_len, scratch);
    for (int32_t first = 0; first < layer->out_len; first += QL_NEON_CHUNK) {
        int32_t left = layer->out_len - first;
        int32_t rows = left < QL_NEON_CHUNK ? left : QL_NEON_CHUNK;
        ql_mac_neon(&layer->weights[first * groups * 4], &layer->bias[first], scratch, groups, rows,
                    acc);
        layer->store(&layer->requant, first, rows, acc, out);
    }
}
