/* SPDX-License-Identifier: Apache-2.0 */
/* Packed rows of 2-bit weights, every other one 1 higher (decision 0009);
 * contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

#if defined(__ARM_FEATURE_DSP)
/* Two inputs, taken from `start`. */
static inline int32_t take_two(const int16_t *in, int32_t start)
{
    uint32_t two;
    (void)memcpy(&two, in, sizeof two);
    __asm__("smlad %0, %1, %2, %0" : "+r"(start) : "r"(two), "r"(-1));
    return start;
}
#else

static inline int32_t take_two(const int16_t *in, int32_t start)
{
    return start - in[0] - in[1];
}
#endif

const int16_t *ql_sums_w2_dsp(const ql_rows *rows, const int16_t *weights, int16_t *in,
                              int32_t lanes, int32_t groups, int32_t *acc)
{
    if (weights == rows->weights) { /* the first chunk; the others find them behind the inputs */
        const int16_t *block = in;
        int32_t *starts = (int32_t *)(void *)&in[rows->steps * QL_STEP * lanes];
        int32_t steps = (rows->steps - 1) % QL_BLOCK + 1;
        for (int32_t left = rows->steps; left > 0; left -= steps, steps = QL_BLOCK) {
            for (int32_t lane = 0; lane < lanes; lane++) {
                const int16_t *twos = &block[2 * lane];
                int32_t start = QL_LOW_START;
#pragma GCC unroll 4
                for (int32_t i = 0; i < steps; i++) {
                    start = take_two(twos, start);
                    start = take_two(twos + 2 * lanes, start);
                    twos += QL_STEP * lanes;
                }
                *starts++ = start;
            }
            block += steps * QL_STEP * lanes;
        }
    }
    return rows->mac(weights, in, rows->steps, groups, acc);
}
