/* SPDX-License-Identifier: Apache-2.0 */
/* A choice drawn by probabilities; contract: ql_kernels.h. */
#include "ql_kernels.h"

/* Whole 2^24ths: sums of them are exact. */
static uint32_t share(float probability)
{
    float scaled = probability * 16777216.0F;
    return (uint32_t)scaled;
}

int32_t ql_sample_f32(const float *probabilities, int32_t count, uint32_t random)
{
    uint32_t total = 0U;
    for (int32_t i = 0; i < count; i++) {
        total += share(probabilities[i]);
    }
    uint32_t place = (uint32_t)(((uint64_t)random * total) >> 32U);
    int32_t chosen = 0;
    for (uint32_t sum = share(probabilities[0]); sum <= place;
         sum += share(probabilities[chosen])) {
        chosen++;
    }
    return chosen;
}
