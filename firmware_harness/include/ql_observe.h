/* The observation quantiser, the same on every target: clamp(round_half_even(x * inv_scale) + zero_point), NaN -> zero_point. */
#ifndef QL_OBSERVE_H
#define QL_OBSERVE_H

#include "ql_kernels.h"
#include "ql_rescale.h"

static inline int32_t ql_observe_feature(const ql_observation *observation, int32_t feature, float value)
{
    int32_t zero_point = observation->zero_point[feature];
    float product = value * observation->inv_scale[feature];
    float low = (float)(observation->qmin - zero_point);
    float high = (float)(observation->qmax - zero_point);
    if (product != product) { /* NaN, defined because conversions of NaN differ between cores */
        product = 0.0f;
    }
    /* Limits are integers, so clamping first changes nothing and keeps the conversion in range. */
    product = product < low ? low : (product > high ? high : product);
    if (product > -8388608.0f && product < 8388608.0f) { /* from 2^23 on every float is an integer */
        float shift = product < 0.0f ? -8388608.0f : 8388608.0f;
        product = (product + shift) - shift; /* rounds half-even */
    }
    return (int32_t)product + zero_point;
}

#endif
