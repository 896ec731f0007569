/* SPDX-License-Identifier: Apache-2.0 */
/* Observation to int16 (decision 0001); contract: ql_kernels.h. */
#include "ql_observe.h"

void ql_observe_s16(const ql_observation *observation, const float *obs, int16_t *out)
{
    for (int32_t i = 0; i < observation->count; i++) {
        out[i] = (int16_t)ql_observe_feature(observation, i, obs[i]);
    }
}
