/* SPDX-License-Identifier: Apache-2.0 */
/* Product of two tensors, or one of them at another scale (decision 0001); contract: ql_kernels.h.
 */
/* needs without an FPU: ql_round_product_wide */
#include "ql_kernels.h"
#include "ql_rescale.h"

#include <stddef.h>

static inline int32_t element(const void *values, int32_t bytes, int32_t i)
{
    return bytes == 1 ? ((const int8_t *)values)[i] : ((const int16_t *)values)[i];
}

void ql_mul(const ql_mul_layer *layer, const void *a, const void *b, void *out)
{
    for (int32_t i = 0; i < layer->count; i++) {
        int32_t product = element(a, layer->a_bytes, i) - layer->a_zero_point;
        if (b != NULL) {
            product *= element(b, layer->b_bytes, i) - layer->b_zero_point;
        }
        int32_t rounded = ql_round_product_wide(product, layer->multiplier) + layer->zero_point;
        int32_t value = ql_clamp(rounded, layer->qmin, layer->qmax);
        if (layer->out_bytes == 1) {
            ((int8_t *)out)[i] = (int8_t)value;
        } else {
            ((int16_t *)out)[i] = (int16_t)value;
        }
    }
}
