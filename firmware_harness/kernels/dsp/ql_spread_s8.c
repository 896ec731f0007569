/* SPDX-License-Identifier: Apache-2.0 */
/* One vector of int8 in the order of SXTB16; contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

#if defined(__ARM_FEATURE_DSP)
#include <string.h>

void ql_spread_s8(const void *in, int32_t count, int16_t *out)
{
    const int8_t *values = (const int8_t *)in;
    for (int32_t left = count; left > 0; left -= QL_STEP) {
        uint32_t word;
        uint32_t step[2];
        (void)memcpy(&word, values, sizeof word);
        __asm__("sxtb16 %0, %1" : "=r"(step[0]) : "r"(word));
        __asm__("sxtb16 %0, %1, ror #8" : "=r"(step[1]) : "r"(word));
        (void)memcpy(out, step, sizeof step);
        values += QL_STEP;
        out += QL_STEP;
    }
}

#else

void ql_spread_s8(const void *in, int32_t count, int16_t *out)
{
    const int8_t *values = (const int8_t *)in;
    for (int32_t i = 0; i < (count + QL_STEP - 1) / QL_STEP * QL_STEP; i++) {
        out[ql_spread_index(i, 1)] = values[i];
    }
}

#endif
