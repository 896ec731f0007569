/* SPDX-License-Identifier: Apache-2.0 */
/* Actors in fp32 and fp16, with which int8 is compared: the same loops and the same vectors. */
#include "ql_actor.h"

#include <string.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT ON /* multiply-add in one instruction, where there is one */
#endif

enum { BLOCK = QL_ACTOR_BLOCK, WIDEST = QL_ACTOR_WIDEST, TILE = 4 };
enum { ALONE = 4 }; /* vectors of 16 floats that a row alone keeps in registers */
#if defined(__AVX512F__)
enum { SHARED = 4 };
#else
enum { SHARED = 1 };
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(64)));
typedef _Float16 half_vector __attribute__((vector_size(32)));

INLINE vector load(const float *at)
{
    vector v;
    memcpy(&v, at, sizeof v);
    return v;
}

INLINE vector load_half(const _Float16 *at)
{
    half_vector v;
    memcpy(&v, at, sizeof v);
    return __builtin_convertvector(v, vector);
}

INLINE vector clamp(vector x, float low, float high)
{
    for (int32_t i = 0; i < 16; i++) x[i] = x[i] < low ? low : x[i] > high ? high : x[i];
    return x;
}

/* tanh as a rational function of degree 13 over 6, within 3 float32 steps of the exact value. */
INLINE vector tanh16(vector x)
{
    static const float p[7] = {4.89352455891786e-03f,  6.37261928875436e-04f, 1.48572235717979e-05f,
                               5.12229709037114e-08f,  -8.60467152213735e-11f, 2.00018790482477e-13f,
                               -2.76076847742355e-16f};
    static const float q[4] = {4.89352518554385e-03f, 2.26843463243900e-03f, 1.18534705686654e-04f,
                               1.19825839466702e-06f};
    x = clamp(x, -7.90531110763549805f, 7.90531110763549805f);
    const vector square = x * x;
    vector top = p[6] - (vector){0}, bottom = q[3] - (vector){0};
    for (int32_t i = 5; i >= 0; i--) top = top * square + p[i];
    for (int32_t i = 2; i >= 0; i--) bottom = bottom * square + q[i];
    return x * top / bottom;
}

INLINE void activate(int32_t kind, const float *acc, float *out)
{
    for (int32_t i = 0; i < BLOCK; i += 16) {
        vector v = load(acc + i);
        if (kind == QL_ACTOR_CLAMP) v = clamp(v, 0, __builtin_inff());
        if (kind == QL_ACTOR_TANH) v = tanh16(v);
        memcpy(out + i, &v, sizeof v);
    }
}

#define NAME(function) function##_fp32
#define RUN ql_actor_run_fp32
#define WEIGHT float
#define WIDEN load
#include "ql_actor_float.h"
#undef NAME
#undef RUN
#undef WEIGHT
#undef WIDEN
#define NAME(function) function##_fp16
#define RUN ql_actor_run_fp16
#define WEIGHT _Float16
#define WIDEN load_half
#include "ql_actor_float.h"

void ql_actor_pack_float(uint8_t *block, int32_t layer, const float *weights)
{
    const ql_actor_policy *h = (const ql_actor_policy *)(const void *)block;
    const ql_actor_layer *p = &h->layers[layer];
    for (int32_t first = 0; first < p->out_len; first += BLOCK) {
        const int32_t count = p->out_len - first < BLOCK ? p->out_len - first : BLOCK;
        const float *rows = weights + (int64_t)first * p->in_len;
        const int64_t at = p->weights / (h->precision == QL_ACTOR_FP32 ? 4 : 2);
        const int64_t start = at + (int64_t)first * p->in_padded;
        for (int32_t k = 0; k < p->in_len; k++)
            for (int32_t o = 0; o < count; o++) {
                const float w = rows[(int64_t)o * p->in_len + k];
                const int64_t place = start + (int64_t)k * BLOCK + o;
                if (h->precision == QL_ACTOR_FP32)
                    ((float *)(void *)block)[place] = w;
                else
                    ((_Float16 *)(void *)block)[place] = (_Float16)w;
            }
    }
}

void ql_actor_run(const uint8_t *block, const float *obs, int32_t n, float *out)
{
    switch (((const ql_actor_policy *)(const void *)block)->precision) {
    case QL_ACTOR_INT8: ql_actor_run_int8(block, obs, n, out); break;
    case QL_ACTOR_FP16: ql_actor_run_fp16(block, obs, n, out); break;
    default: ql_actor_run_fp32(block, obs, n, out); break;
    }
}
