#include "ql_kernels.h"
#include "ql_rescale.h"

void ql_store_s8(const ql_range *range, int32_t first, int32_t count, const int32_t *acc, void *out)
{
    const float *multiplier = &range->multiplier[first];
    int8_t *results = (int8_t *)out + first;
    int32_t zero_point = range->zero_point;
    if (range->qmin == -128 && range->qmax == 127) { /* nearly always: one instruction on most cores */
        for (int32_t i = 0; i < count; i++) {
            results[i] = (int8_t)ql_clamp_s8(ql_round_product(acc[i], multiplier[i]) + zero_point);
        }
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        results[i] = (int8_t)ql_clamp(ql_round_product(acc[i], multiplier[i]) + zero_point, range->qmin, range->qmax);
    }
}
