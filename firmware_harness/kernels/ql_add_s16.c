/* SPDX-License-Identifier: Apache-2.0 */
/* Sum of two int16 tensors of one scale; contract: ql_kernels.h. */
#include "ql_kernels.h"
#include "ql_rescale.h"

void ql_add_s16(const ql_add_layer *layer, int32_t count, const int16_t *a, const int16_t *b,
                int16_t *out)
{
    for (int32_t i = 0; i < count; i++) {
        out[i] = (int16_t)ql_clamp(a[i] + b[i] - layer->zero_point, layer->qmin, layer->qmax);
    }
}
