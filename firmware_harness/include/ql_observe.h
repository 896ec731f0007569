/* SPDX-License-Identifier: Apache-2.0 */
/* The observation quantiser, the same on every target: clamp(round_half_even(x * inv_scale) +
 * zero_point), NaN -> zero_point. */
#ifndef QL_OBSERVE_H
#define QL_OBSERVE_H

#include "ql_kernels.h"
#include "ql_rescale.h"

/* round_half_even(value), clamped; NaN becomes 0, clamped. |low|, |high| < 2^24. */
static inline int32_t ql_round_clamped(float value, int32_t low, int32_t high)
{
#if defined(QL_ROUNDS_IN_HARDWARE)
    return ql_clamp(ql_vcvtr(value), low, high);
#else
    if (value != value) { /* defined here because conversions of NaN differ between machines */
        value = 0.0f;
    }
    /* The limits are integers: clamping first changes nothing and keeps the conversion in range. */
    if (value <= (float)low) {
        return low;
    }
    if (value >= (float)high) {
        return high;
    }
    if (value > -8388608.0f && value < 8388608.0f) { /* from 2^23 on every float is an integer */
        float shift = value < 0.0f ? -8388608.0f : 8388608.0f;
        value = (value + shift) - shift; /* rounds half-even */
    }
    return (int32_t)value;
#endif
}

static inline int32_t ql_observe_feature(const ql_observation *observation, int32_t feature,
                                         float value)
{
    int32_t zero_point = observation->zero_point[feature];
    float product = value * observation->inv_scale[feature];
    return ql_round_clamped(product, observation->qmin - zero_point,
                            observation->qmax - zero_point) +
           zero_point;
}

#endif
