/* SPDX-License-Identifier: Apache-2.0 */
/* Fully connected layer with SMLAD (decision 0001); contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

void ql_dense_dsp(const ql_dense_dsp_layer *layer, const void *in, int16_t *scratch, void *out)
{
    int32_t acc[QL_CHUNK];
    const int8_t *weights = layer->weights;
    layer->spread(in, layer->in_len, 0, 1, scratch);
    for (int32_t first = 0; first < layer->out_len; first += QL_CHUNK) {
        int32_t left = layer->out_len - first;
        int32_t rows = left < QL_CHUNK ? left : QL_CHUNK;
        weights = layer->mac(weights, &layer->bias[first], scratch, layer->padded_len / QL_STEP,
                             (rows + 1) / 2, acc);
        layer->store(&layer->requant, first, rows, acc, out);
    }
}
