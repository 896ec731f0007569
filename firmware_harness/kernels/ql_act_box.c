/* SPDX-License-Identifier: Apache-2.0 */
/* The action of a box; contract: ql_kernels.h. */
#include "ql_kernels.h"

#include <stddef.h>

void ql_act_box(const ql_box *box, const float *values, float *action)
{
    for (int32_t i = 0; i < box->count; i++) {
        float value = values[i];
        if (box->half_range != NULL) {
            float upper = value + 1.0f;
            float offset = upper * box->half_range[i];
            value = box->low[i] + offset;
        }
        action[i] =
            value < box->low[i] ? box->low[i] : (value > box->high[i] ? box->high[i] : value);
    }
}
