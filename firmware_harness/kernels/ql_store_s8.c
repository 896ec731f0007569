/* SPDX-License-Identifier: Apache-2.0 */
/* Accumulators to int8 (decision 0001); contract: ql_kernels.h. */
/* needs without an FPU: ql_round_product */
#include "ql_kernels.h"
#include "ql_rescale.h"
#include "ql_round_four.h"

#if !defined(QL_ROUNDS_IN_HARDWARE)
enum { QL_AT_ONCE = 1 };

static inline void ql_round_some(const int32_t *acc, const float *multiplier, int32_t *rounded)
{
    rounded[0] = ql_round_product(acc[0], multiplier[0]);
}
#endif

void ql_store_s8(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                 void *out)
{
    const float *multiplier = &requant->multiplier[first];
    int8_t *results = (int8_t *)out + first;
    int32_t zero_point = requant->zero_point;
    if (requant->qmin == -128 && requant->qmax == 127) { /* nearly always; SSAT does it */
        for (; count >= QL_AT_ONCE; count -= QL_AT_ONCE) {
            int32_t rounded[QL_AT_ONCE];
            ql_round_some(acc, multiplier, rounded);
#pragma GCC unroll 4
            for (int32_t i = 0; i < QL_AT_ONCE; i++) {
                results[i] = (int8_t)ql_clamp_s8(rounded[i] + zero_point);
            }
            acc += QL_AT_ONCE;
            multiplier += QL_AT_ONCE;
            results += QL_AT_ONCE;
        }
    }
    for (int32_t i = 0; i < count; i++) {
        int32_t rounded = ql_round_product(acc[i], multiplier[i]) + zero_point;
        results[i] = (int8_t)ql_clamp(rounded, requant->qmin, requant->qmax);
    }
}
