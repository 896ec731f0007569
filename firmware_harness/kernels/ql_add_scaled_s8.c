/* SPDX-License-Identifier: Apache-2.0 */
/* Sum of two tensors of different scales (decision 0007); contract: ql_kernels.h. */
#include "ql_kernels.h"
#include "ql_rescale.h"

void ql_add_scaled_s8(const ql_scaled_add_layer *layer, int32_t count, const int8_t *a,
                      const int8_t *b, int8_t *out)
{
    uint32_t lift = 0x80000000U; /* makes the sum positive, so that shifting it rounds down */
    int32_t lifted = (int32_t)(lift >> layer->shift);
    int32_t half = (int32_t)(1U << (layer->shift - 1));
    for (int32_t i = 0; i < count; i++) {
        int32_t sum = (a[i] - layer->a_zero_point) * layer->a_factor +
                      (b[i] - layer->b_zero_point) * layer->b_factor + half;
        int32_t steps = (int32_t)(((uint32_t)sum + lift) >> layer->shift) - lifted;
        out[i] = (int8_t)ql_clamp(steps + layer->zero_point, layer->qmin, layer->qmax);
    }
}
