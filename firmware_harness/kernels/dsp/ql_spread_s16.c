/* SPDX-License-Identifier: Apache-2.0 */
/* One vector of int16 in the order of SXTB16, zeros behind it; contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

#if defined(__ARM_FEATURE_DSP)
#include <string.h>

/* Spreads whole steps of k0 k1 | k2 k3; returns how many inputs those are. */
static inline int32_t spread_steps(const int16_t *values, int32_t count, int16_t *out)
{
    int32_t left = count;
    for (; left >= QL_STEP; left -= QL_STEP) {
        uint32_t word[2];
        uint32_t step[2];
        (void)memcpy(word, values, sizeof word);
        __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(step[0]) : "r"(word[0]), "r"(word[1]));
        __asm__("pkhtb %0, %2, %1, asr #16" : "=r"(step[1]) : "r"(word[0]), "r"(word[1]));
        (void)memcpy(out, step, sizeof step);
        values += QL_STEP;
        out += QL_STEP;
    }
    return count - left;
}

#else

static inline int32_t spread_steps(const int16_t *values, int32_t count, int16_t *out)
{
    (void)values;
    (void)count;
    (void)out;
    return 0;
}

#endif

void ql_spread_s16(const void *in, int32_t count, int16_t *out)
{
    const int16_t *values = (const int16_t *)in;
    int32_t padded = (count + QL_STEP - 1) / QL_STEP * QL_STEP;
    for (int32_t i = spread_steps(values, count, out); i < padded; i++) {
        out[ql_spread_index(i, 1)] = i < count ? values[i] : 0;
    }
}
