/* SPDX-License-Identifier: Apache-2.0 */
/* Accumulators to int16 (decision 0001); contract: ql_kernels.h. */
/* needs without an FPU: ql_round_product_wide */
#include "ql_kernels.h"
#include "ql_rescale.h"

void ql_store_s16(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                  void *out)
{
    int16_t *results = (int16_t *)out + first;
    for (int32_t i = 0; i < count; i++) {
        int32_t rounded = ql_round_product_wide(acc[i], requant->multiplier[first + i]);
        results[i] = (int16_t)ql_clamp(rounded + requant->zero_point, requant->qmin, requant->qmax);
    }
}
