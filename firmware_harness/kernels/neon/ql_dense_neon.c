/* SPDX-License-Identifier: Apache-2.0 */
/* Fully connected layer with NEON (decision 0001); contract: ql_kernels_neon.h. */
/* needs: ql_spread_neon, ql_spread_order_neon, ql_mac_neon */
#include "ql_kernels_neon.h"

#include <stddef.h>

void ql_dense_neon(const ql_dense_neon_layer *layer, const int8_t *in, int8_t *scratch, void *out)
{
    int32_t acc[QL_NEON_CHUNK];
    int32_t groups = (layer->in_len + 7) / 8 * 2;
    int32_t windows = (layer->in_len + QL_ORDER_WINDOW - 1) / QL_ORDER_WINDOW;
    const int8_t *places = layer->places;
    const int16_t *order = layer->order;
    int32_t fours = 0;
    if (places == NULL) {
        ql_spread_neon(in, layer->in_len, scratch);
    }
    for (int32_t first = 0; first < layer->out_len; first += layer->rows) {
        int32_t left = layer->out_len - first;
        int32_t rows = left < layer->rows ? left : layer->rows;
        if (places != NULL) {
            fours = order[0];
            ql_spread_order_neon(places, &order[1], in, layer->in_len, scratch);
            places += windows * QL_ORDER_WINDOW;
            order += 1 + windows;
        }
        ql_mac_neon(&layer->weights[first * groups * 4], &layer->bias[first], scratch, fours,
                    groups, rows, acc);
        layer->store(&layer->requant, first, rows, acc, out);
    }
}
