/* SPDX-License-Identifier: Apache-2.0 */
/* Pixels to int8; contract: ql_kernels.h. */
#include "ql_kernels.h"

void ql_observe_pixels(const uint8_t *pixels, int32_t planes, int32_t plane_len, int8_t *out)
{
    for (int32_t plane = 0; plane < planes; plane++) {
        for (int32_t i = 0; i < plane_len; i++) {
            out[i * planes + plane] = (int8_t)(*pixels - 128);
            pixels++;
        }
    }
}
