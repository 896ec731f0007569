/* SPDX-License-Identifier: Apache-2.0 */
/* Real numbers of int16; contract: ql_kernels.h. */
#include "ql_kernels.h"

void ql_real_s16(const int16_t *values, float scale, int32_t zero_point, int32_t count, float *out)
{
    for (int32_t i = 0; i < count; i++) {
        out[i] = (float)(values[i] - zero_point) * scale;
    }
}
