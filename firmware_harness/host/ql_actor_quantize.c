/* SPDX-License-Identifier: Apache-2.0 */
/* The learner's side of an int8 policy: float32 weights become integers in their place in the
 * block. Rounding as toolchain/quarl/quantize/weight_rounding.py does it. */
#include "ql_actor.h"

#include <math.h>
#include <string.h>

enum { BLOCK = QL_ACTOR_BLOCK, WIDEST = QL_ACTOR_WIDEST };

/* Sums are in float32, 16 at once: they decide a bound that has room. */
void ql_actor_row_sizes(const float *weights, int32_t rows, int32_t cols, float *peak, float *sum)
{
    for (int32_t o = 0; o < rows; o++) {
        const float *w = weights + (int64_t)o * cols;
        float most[16] = {0}, total[16] = {0};
        int32_t i = 0;
        for (; i + 16 <= cols; i += 16)
            for (int32_t lane = 0; lane < 16; lane++) {
                const float size = fabsf(w[i + lane]);
                most[lane] = most[lane] > size ? most[lane] : size;
                total[lane] += size;
            }
        peak[o] = sum[o] = 0;
        for (; i < cols; i++) {
            const float size = fabsf(w[i]);
            most[0] = most[0] > size ? most[0] : size;
            total[0] += size;
        }
        for (int32_t lane = 0; lane < 16; lane++) {
            peak[o] = peak[o] > most[lane] ? peak[o] : most[lane];
            sum[o] += total[lane];
        }
    }
}

/* A float32 product is within DOUBT of the exact quotient, so its nearest integer is the quotient's
 * unless it lies that close to the middle between two. */
#define DOUBT 3e-5f

/* q[i] = w[i] / step to the nearest, half to even, at most 127. Returns the sum of all q. */
static int32_t round_row(const float *w, int32_t count, float step, int8_t *q)
{
    const float inverse = 1 / step;
    int32_t total = 0, doubts = 0;
    for (int32_t i = 0; i < count; i++) {
        const float quotient = w[i] * inverse;
        const float nearest = __builtin_rintf(quotient);
        doubts += fabsf(quotient - nearest) > 0.5f - DOUBT;
        const float clamped = nearest > 127 ? 127 : nearest < -127 ? -127 : nearest;
        q[i] = (int8_t)(int32_t)clamped;
    }
    if (doubts)
        for (int32_t i = 0; i < count; i++) {
            const float quotient = w[i] * inverse;
            if (fabsf(quotient - __builtin_rintf(quotient)) > 0.5f - DOUBT) {
                const double exact = __builtin_rint((double)w[i] / (double)step);
                q[i] = (int8_t)(int32_t)(exact > 127 ? 127 : exact < -127 ? -127 : exact);
            }
        }
    for (int32_t i = 0; i < count; i++) total += q[i];
    return total;
}

void ql_actor_pack_int8(uint8_t *block, int32_t layer, const float *weights, const int32_t *bias,
                        int32_t in_zero_point)
{
    static _Thread_local int8_t q[WIDEST];
    const ql_actor_policy *h = (const ql_actor_policy *)(const void *)block;
    const ql_actor_layer *p = &h->layers[layer];
    const float *steps = (const float *)(const void *)(block + p->step);
    int32_t *to_bias = (int32_t *)(void *)(block + p->bias);
    memset(q + p->in_len, 0, (size_t)(p->in_padded - p->in_len));
    for (int32_t o = 0; o < p->out_len; o++) {
        const float *w = weights + (int64_t)o * p->in_len;
        const int32_t total = round_row(w, p->in_len, steps[o], q);
        uint8_t *to = block + p->weights + (int64_t)(o / BLOCK) * BLOCK * p->in_padded;
        to += (o % BLOCK) * 4;
        for (int32_t i = 0; i < p->in_padded; i += 4) memcpy(to + (int64_t)i * BLOCK, q + i, 4);
        to_bias[o] = bias[o] - (in_zero_point + 128) * total;
    }
}
