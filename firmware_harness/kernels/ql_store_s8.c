/* SPDX-License-Identifier: Apache-2.0 */
/* Accumulators to int8 (decision 0001); contract: ql_kernels.h. */
/* needs without an FPU: ql_round_product */
#include "ql_kernels.h"
#include "ql_rescale.h"

void ql_store_s8(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                 void *out)
{
    const float *multiplier = &requant->multiplier[first];
    int8_t *results = (int8_t *)out + first;
    int32_t zero_point = requant->zero_point;
    if (requant->qmin == -128 &&
        requant->qmax == 127) { /* nearly always; SSAT where there is one */
        for (int32_t i = 0; i < count; i++) {
            results[i] = (int8_t)ql_clamp_s8(ql_round_product(acc[i], multiplier[i]) + zero_point);
        }
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        results[i] = (int8_t)ql_clamp(ql_round_product(acc[i], multiplier[i]) + zero_point,
                                      requant->qmin, requant->qmax);
    }
}
