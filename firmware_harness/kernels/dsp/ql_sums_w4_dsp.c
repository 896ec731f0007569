/* SPDX-License-Identifier: Apache-2.0 */
/* Packed rows of 4-bit weights, three of which stand 8 higher (decision 0009);
 * contract: ql_kernels_dsp.h. */
/* needs: ql_sums_dsp */
#include "ql_kernels_dsp.h"

#if defined(__ARM_FEATURE_DSP)
/* The sum of two inputs, added to `sum`. */
static inline int32_t add_two(const int16_t *in, int32_t sum)
{
    uint32_t two;
    (void)memcpy(&two, in, sizeof two);
    __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(two), "r"(0x00010001));
    return sum;
}
#else

static inline int32_t add_two(const int16_t *in, int32_t sum)
{
    return sum + in[0] + in[1];
}
#endif

const int16_t *ql_sums_w4_dsp(const ql_rows *rows, const int16_t *weights, int16_t *in,
                              int32_t lanes, int32_t groups, int32_t *acc)
{
    if (weights == rows->weights) { /* the first chunk; the others find the sums in acc */
        for (int32_t lane = 0; lane < lanes; lane++) {
            const int16_t *twos = &in[2 * lane];
            int32_t sum = 0;
#pragma GCC unroll 4
            for (int32_t i = 0; i < rows->steps; i++) {
                sum = add_two(twos, sum);
                sum = add_two(twos + 2 * lanes, sum);
                twos += QL_STEP * lanes;
            }
            acc[lane * QL_LANE + QL_CHUNK] = 8 * sum;
        }
    }
    if (rows->part == rows->steps) {
        return rows->mac(weights, in, rows->steps, groups, acc);
    }
    return ql_sums_dsp(rows, weights, in, lanes, groups, acc);
}
