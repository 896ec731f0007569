#include "ql_kernels.h"

/* A wide head: the exact accumulators (below 2^24) in real units, one rounding. */
void ql_store_f32(const ql_range *range, int32_t first, int32_t count, const int32_t *acc, void *out)
{
    float *results = (float *)out + first;
    for (int32_t i = 0; i < count; i++) {
        results[i] = (float)acc[i] * range->multiplier[first + i];
    }
}
