/* SPDX-License-Identifier: Apache-2.0 */
/* The learner's side of an int8 policy: float32 weights become integers in their place in the
 * block. Rounding as toolchain/quarl/quantize/weight_rounding.py does it. */
#include "ql_actor.h"

#include <math.h>
#include <string.h>

enum { BLOCK = QL_ACTOR_BLOCK, WIDEST = QL_ACTOR_WIDEST };

void ql_actor_row_sizes(const float *weights, int32_t rows, int32_t cols, float *peak, double *sum)
{
    for (int32_t o = 0; o < rows; o++) {
        const float *w = weights + (int64_t)o * cols;
        float most[16] = {0};
        double total[16] = {0};
        for (int32_t i = 0; i < cols; i++) {
            const float size = fabsf(w[i]);
            const int32_t lane = i % 16;
            most[lane] = most[lane] > size ? most[lane] : size;
            total[lane] += (double)size;
        }
        peak[o] = 0;
        sum[o] = 0;
        for (int32_t i = 0; i < 16; i++) {
            peak[o] = peak[o] > most[i] ? peak[o] : most[i];
            sum[o] += total[i];
        }
    }
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
        const double step = (double)steps[o];
        int32_t total = 0;
        for (int32_t i = 0; i < p->in_len; i++) {
            double rounded = __builtin_rint((double)w[i] / step);
            rounded = rounded > 127 ? 127 : rounded < -127 ? -127 : rounded;
            q[i] = (int8_t)(int32_t)rounded;
        }
        for (int32_t i = 0; i < p->in_len; i++) total += q[i];
        uint8_t *to = block + p->weights + (int64_t)(o / BLOCK) * BLOCK * p->in_padded;
        to += (o % BLOCK) * 4;
        for (int32_t i = 0; i < p->in_padded; i += 4) memcpy(to + (int64_t)i * BLOCK, q + i, 4);
        to_bias[o] = bias[o] - (in_zero_point + 128) * total;
    }
}
