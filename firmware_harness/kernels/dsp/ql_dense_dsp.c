/* SPDX-License-Identifier: Apache-2.0 */
/* Fully connected layer with SMLAD (decision 0001); contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"
#include "ql_rows.h"

void ql_dense_dsp(const ql_dense_dsp_layer *layer, const void *in, int16_t *scratch, void *out)
{
    int32_t acc[QL_LANE];
    layer->spread(in, layer->in_len, scratch);
    ql_rows_dsp(&layer->rows, scratch, 1, acc, 0, (uint8_t *)out);
}
