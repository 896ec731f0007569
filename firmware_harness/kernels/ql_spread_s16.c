/* SPDX-License-Identifier: Apache-2.0 */
/* int16 inputs in the order of SMLAD; contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

void ql_spread_s16(const void *in, int32_t count, int32_t at, int32_t lanes, int16_t *out)
{
    const int16_t *values = (const int16_t *)in;
    for (int32_t i = 0; i < count; i++) {
        out[ql_spread_index(at + i, lanes)] = values[i];
    }
}
