/* SPDX-License-Identifier: Apache-2.0 */
/* One vector of int16 in the order of SXTB16, zeros behind it; contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

void ql_spread_s16(const void *in, int32_t count, int16_t *out)
{
    const int16_t *values = (const int16_t *)in;
    for (int32_t i = 0; i < (count + QL_STEP - 1) / QL_STEP * QL_STEP; i++) {
        out[ql_spread_index(i, 1)] = i < count ? values[i] : 0;
    }
}
