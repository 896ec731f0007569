/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax of an argmax head; contract: ql_kernels.h. */
#include "ql_kernels.h"

#include <string.h>

/* e^x of x <= 0, within three units of the last place. Every step rounds to float32 once, in this
 * order, as the host does. */
static float exponential(float x)
{
    static const float coefficients[7] = {
        0x1.6c16c2p-10F, 0x1.111112p-7F, 0x1.555556p-5F, 0x1.555556p-3F, 0.5F, 1.0F, 1.0F};
    if (x < -87.0F) {
        return 0.0F; /* beyond it begin the denormals */
    }
    float steps = x * 0x1.715476p+0F; /* log2(e) */
    int32_t whole = (int32_t)(steps - 0.5F);
    float high = (float)whole * 0x1.63p-1F;
    float low = (float)whole * -0x1.bd0106p-13F;
    float rest = x - high;
    rest = rest - low;
    float power = coefficients[0];
    for (int32_t i = 1; i < 7; i++) {
        float product = power * rest;
        power = product + coefficients[i];
    }
    uint32_t bits = (uint32_t)(whole + 127) << 23;
    float scale;
    (void)memcpy(&scale, &bits, sizeof scale);
    return power * scale;
}

void ql_softmax_f32(const float *values, float beta, int32_t count, float *probabilities)
{
    float largest = values[0];
    float total = 0.0F;
    for (int32_t i = 1; i < count; i++) {
        largest = values[i] > largest ? values[i] : largest;
    }
    for (int32_t i = 0; i < count; i++) {
        float below = values[i] - largest;
        probabilities[i] = exponential(below * beta);
        total += probabilities[i];
    }
    for (int32_t i = 0; i < count; i++) {
        probabilities[i] = probabilities[i] / total;
    }
}
