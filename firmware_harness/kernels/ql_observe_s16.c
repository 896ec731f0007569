#include "ql_observe.h"

/* obs float [count], units of the environment; out int16 [count]. */
void ql_observe_s16(const ql_observation *observation, const float *obs, int16_t *out)
{
    for (int32_t i = 0; i < observation->count; i++) {
        out[i] = (int16_t)ql_observe_feature(observation, i, obs[i]);
    }
}
