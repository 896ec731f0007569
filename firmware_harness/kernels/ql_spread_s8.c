/* SPDX-License-Identifier: Apache-2.0 */
/* int8 inputs in the order of SMLAD; contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

#include <string.h>

#if defined(__ARM_FEATURE_DSP)
static void spread_words(const int8_t *in, int32_t words, int32_t lanes, int16_t *out)
{
    for (int32_t i = 0; i < words; i++) {
        uint32_t word;
        uint32_t even;
        uint32_t odd;
        (void)memcpy(&word, in, sizeof word);
        __asm__("sxtb16 %0, %1" : "=r"(even) : "r"(word));
        __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(word));
        (void)memcpy(out, &even, sizeof even);
        (void)memcpy(out + 2 * lanes, &odd, sizeof odd);
        in += 4;
        out += 4 * lanes;
    }
}
#else
static void spread_words(const int8_t *in, int32_t words, int32_t lanes, int16_t *out)
{
    for (int32_t i = 0; i < words; i++) {
        out[0] = in[0];
        out[1] = in[2];
        out[2 * lanes] = in[1];
        out[2 * lanes + 1] = in[3];
        in += 4;
        out += 4 * lanes;
    }
}
#endif

void ql_spread_s8(const void *in, int32_t count, int32_t at, int32_t lanes, int16_t *out)
{
    const int8_t *values = (const int8_t *)in;
    int32_t done = 0;
    if ((at & 3) == 0) {
        done = count & ~3;
        spread_words(values, count >> 2, lanes, &out[at * lanes]);
    }
    for (; done < count; done++) {
        out[ql_spread_index(at + done, lanes)] = values[done];
    }
}
