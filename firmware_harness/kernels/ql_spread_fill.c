/* SPDX-License-Identifier: Apache-2.0 */
/* One value in the order of SMLAD; contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

void ql_spread_fill(int32_t value, int32_t count, int32_t at, int32_t lanes, int16_t *out)
{
    for (int32_t i = 0; i < count; i++) {
        out[ql_spread_index(at + i, lanes)] = (int16_t)value;
    }
}
