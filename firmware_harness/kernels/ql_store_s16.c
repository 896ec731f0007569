#include "ql_kernels.h"
#include "ql_rescale.h"

void ql_store_s16(const ql_range *range, int32_t first, int32_t count, const int32_t *acc, void *out)
{
    int16_t *results = (int16_t *)out + first;
    for (int32_t i = 0; i < count; i++) {
        int32_t rounded = ql_round_product_wide(acc[i], range->multiplier[first + i]);
        results[i] = (int16_t)ql_clamp(rounded + range->zero_point, range->qmin, range->qmax);
    }
}
