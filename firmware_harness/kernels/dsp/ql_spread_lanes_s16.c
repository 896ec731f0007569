/* SPDX-License-Identifier: Apache-2.0 */
/* Two windows of int16 side by side in the order of SXTB16; contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

void ql_spread_lanes_s16(const void *first, const void *second, const ql_lines *lines, int16_t *out)
{
    const int16_t *windows[2] = {(const int16_t *)first, (const int16_t *)second};
    int32_t elements = lines->bytes / 2;
    for (int32_t line = 0; line < lines->count; line++) {
        for (int32_t i = 0; i < elements; i++) {
            int32_t at = ql_spread_index(line * elements + i, 2);
            out[at] = windows[0][line * lines->stride / 2 + i];
            out[at + 2] = windows[1][line * lines->stride / 2 + i];
        }
    }
}
