/* SPDX-License-Identifier: Apache-2.0 */
/* Observation to int8 (decision 0001); contract: ql_kernels.h. */
#include "ql_observe.h"

void ql_observe_s8(const ql_observation *observation, const float *obs, int8_t *out)
{
    for (int32_t i = 0; i < observation->count; i++) {
        out[i] = (int8_t)ql_observe_feature(observation, i, obs[i]);
    }
}
