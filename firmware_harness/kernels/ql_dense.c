#include "ql_kernels.h"

/* Fully connected. in int8 or int16 [in_len], as layer->mac reads; out as layer->store writes, [out_len]; must not overlap. */
void ql_dense(const ql_dense_layer *layer, const void *in, void *out)
{
    int32_t acc[QL_CHUNK];
    const int8_t *weights = layer->weights;
    for (int32_t first = 0; first < layer->out_len; first += QL_CHUNK) {
        int32_t left = layer->out_len - first;
        int32_t rows = left < QL_CHUNK ? left : QL_CHUNK;
        weights = layer->mac(weights, &layer->bias[first], in, layer->in_len, rows, acc);
        layer->store(&layer->range, first, rows, acc, out);
    }
}
