/* SPDX-License-Identifier: Apache-2.0 */
/* Concatenation along the last axis; contract: ql_kernels.h. */
#include "ql_copy.h"
#include "ql_kernels.h"

void ql_concat(int32_t rows, int32_t in_bytes, int32_t out_bytes, int32_t offset_bytes,
               const void *in, void *out)
{
    const uint8_t *from = (const uint8_t *)in;
    uint8_t *to = (uint8_t *)out + offset_bytes;
    for (int32_t row = 0; row < rows; row++) {
        ql_copy(to, from, in_bytes);
        from += in_bytes;
        to += out_bytes;
    }
}
