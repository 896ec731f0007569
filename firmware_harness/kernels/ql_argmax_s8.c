/* SPDX-License-Identifier: Apache-2.0 */
/* Argmax of int8; contract: ql_kernels.h. */
#include "ql_kernels.h"

int32_t ql_argmax_s8(const int8_t *values, int32_t count)
{
    int32_t best = 0;
    for (int32_t i = 1; i < count; i++) {
        if (values[i] > values[best]) {
            best = i;
        }
    }
    return best;
}
