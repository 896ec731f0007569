/* SPDX-License-Identifier: Apache-2.0 */
/* Accumulators to float32 (decision 0001); contract: ql_kernels.h. */
#include "ql_kernels.h"

void ql_store_f32(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                  void *out)
{
    float *results = (float *)out + first;
    for (int32_t i = 0; i < count; i++) {
        results[i] = (float)acc[i] * requant->multiplier[first + i];
    }
}
