/* SPDX-License-Identifier: Apache-2.0 */
/* Dense layers of int8 for actors; arithmetic: decision 0001. A decision reads the weights once,
 * front to back; 64 sums stay in registers, and nothing is added across lanes. */
#include "ql_actor.h"

#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum { BLOCK = QL_ACTOR_BLOCK, WIDEST = QL_ACTOR_WIDEST };

#define INLINE static inline __attribute__((always_inline))

/* VNNI: one broadcast of 4 input bytes feeds ALONE multiply-adds, or SHARED ones where several rows
 * share the registers. */
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
enum { TILE = 4, ALONE = 4, SHARED = 4, LANES = 16 };
typedef __m512i vector;
#define LOAD(at) _mm512_loadu_si512(at)
#define STORE(at, v) _mm512_storeu_si512(at, v)
#define SPREAD(four) _mm512_set1_epi32(four)
#define DOT4(sum, x, w) _mm512_dpbusd_epi32(sum, x, w)
#elif defined(__AVXVNNI__)
enum { TILE = 4, ALONE = 4, SHARED = 2, LANES = 8 };
typedef __m256i vector;
#define LOAD(at) _mm256_loadu_si256((const __m256i *)(const void *)(at))
#define STORE(at, v) _mm256_storeu_si256((__m256i *)(void *)(at), v)
#define SPREAD(four) _mm256_set1_epi32(four)
#define DOT4(sum, x, w) _mm256_dpbusd_avx_epi32(sum, x, w)
#else
enum { TILE = 4 };
#endif

/* How a kernel reads activations: the bytes themselves, or widened for 16-bit products. */
#if defined(__AVX2__) && !defined(DOT4)
typedef int16_t activation;
#else
typedef uint8_t activation;
#endif

/* acc[b][0..63] of 64 outputs for n rows of activations. n is a constant where it is called, so the
 * sums live in registers. */
INLINE void dot_block(const int8_t *w, const int32_t *bias, const activation *rows, int32_t steps,
                      int32_t n, int32_t acc[][BLOCK])
{
#if defined(DOT4)
    const int32_t vectors = n == 1 ? ALONE : SHARED;
    for (int32_t first = 0; first < BLOCK; first += vectors * LANES) {
        vector sum[TILE][ALONE];
        for (int32_t b = 0; b < n; b++)
            for (int32_t v = 0; v < vectors; v++) sum[b][v] = LOAD(bias + first + LANES * v);
        const int8_t *at = w + 4 * first;
        for (int32_t k = 0; k < steps; k++, at += 4 * BLOCK)
            for (int32_t b = 0; b < n; b++) {
                int32_t four;
                memcpy(&four, rows + b * WIDEST + 4 * k, 4);
                const vector x = SPREAD(four);
                for (int32_t v = 0; v < vectors; v++)
                    sum[b][v] = DOT4(sum[b][v], x, LOAD(at + 4 * LANES * v));
            }
        for (int32_t b = 0; b < n; b++)
            for (int32_t v = 0; v < vectors; v++) STORE(&acc[b][first + LANES * v], sum[b][v]);
    }
#elif defined(__AVX2__)
    /* 16-bit products, because the 8-bit form saturates; two sums for each output. A widened
     * vector of weights serves all rows, whose activations were widened before. */
    const int32_t vectors = n == 1 ? 4 : 2;
    for (int32_t first = 0; first < BLOCK; first += 4 * vectors) {
        __m256i sum[TILE][4];
        for (int32_t b = 0; b < n; b++)
            for (int32_t v = 0; v < vectors; v++) sum[b][v] = _mm256_setzero_si256();
        const int8_t *at = w + 4 * first;
        for (int32_t k = 0; k < steps; k++, at += 4 * BLOCK) {
            __m256i x[TILE];
            for (int32_t b = 0; b < n; b++) {
                int64_t four;
                memcpy(&four, rows + b * WIDEST + 4 * k, 8);
                x[b] = _mm256_set1_epi64x(four);
            }
            for (int32_t v = 0; v < vectors; v++) {
                const __m128i narrow = _mm_loadu_si128((const __m128i *)(const void *)(at + 16 * v));
                const __m256i wide = _mm256_cvtepi8_epi16(narrow);
                for (int32_t b = 0; b < n; b++)
                    sum[b][v] = _mm256_add_epi32(sum[b][v], _mm256_madd_epi16(x[b], wide));
            }
        }
        for (int32_t b = 0; b < n; b++)
            for (int32_t v = 0; v < vectors; v++) {
                int32_t pairs[8];
                _mm256_storeu_si256((__m256i *)(void *)pairs, sum[b][v]);
                for (int32_t i = 0; i < 4; i++)
                    acc[b][first + 4 * v + i] =
                        bias[first + 4 * v + i] + pairs[2 * i] + pairs[2 * i + 1];
            }
    }
#else
    for (int32_t b = 0; b < n; b++) {
        memcpy(acc[b], bias, sizeof acc[b]);
        const int8_t *at = w;
        for (int32_t k = 0; k < steps; k++, at += 4 * BLOCK) {
            const activation *x = rows + b * WIDEST + 4 * k;
            for (int32_t o = 0; o < BLOCK; o++)
                acc[b][o] += x[0] * at[4 * o] + x[1] * at[4 * o + 1] + x[2] * at[4 * o + 2] +
                             x[3] * at[4 * o + 3];
        }
    }
#endif
}

/* 64 sums become bytes q + 128. Half even; the bounds are whole numbers, so that clamping before
 * rounding is the same. */
INLINE void clamp_block(const ql_actor_layer *p, const int32_t *acc, const float *multiplier,
                        const uint8_t *table, activation *out)
{
    const float low = (float)(p->qmin - p->zero_point), high = (float)(p->qmax - p->zero_point);
    const int32_t offset = p->zero_point + 128;
    for (int32_t i = 0; i < BLOCK; i++) {
        float product = (float)acc[i] * multiplier[i];
        product = product < low ? low : product > high ? high : product;
        out[i] = (activation)((int32_t)__builtin_rintf(product) + offset);
    }
    if (p->kind == QL_ACTOR_TANH)
        for (int32_t i = 0; i < BLOCK; i++) out[i] = table[out[i]];
}

/* One layer for n rows: bytes to `out`, or real numbers to `real` [n][out_len] where it is REAL. */
static void dense(const uint8_t *base, const ql_actor_layer *p, const activation *in, int32_t n,
                  activation *out, float *real)
{
    const int32_t *bias = (const int32_t *)(const void *)(base + p->bias);
    const float *multiplier = (const float *)(const void *)(base + p->multiplier);
    const int32_t steps = p->in_padded / 4;
    int32_t acc[TILE][BLOCK];
    for (int32_t o = 0; o < p->out_padded; o += BLOCK) {
        const int8_t *w = (const int8_t *)(base + p->weights) + (int64_t)o * p->in_padded;
        switch (n) {
        case 1: dot_block(w, bias + o, in, steps, 1, acc); break;
        case 2: dot_block(w, bias + o, in, steps, 2, acc); break;
        case 3: dot_block(w, bias + o, in, steps, 3, acc); break;
        default: dot_block(w, bias + o, in, steps, TILE, acc); break;
        }
        for (int32_t b = 0; b < n; b++) {
            if (p->kind == QL_ACTOR_REAL)
                for (int32_t i = 0; i < BLOCK && o + i < p->out_len; i++)
                    real[b * p->out_len + o + i] = (float)acc[b][i] * multiplier[o + i];
            else
                clamp_block(p, acc[b], multiplier + o, base + p->table, out + b * WIDEST + o);
        }
    }
}

/* An observation becomes bytes q + 128: clamp(rint(x * inv_scale) + zero_point), NaN as 0. */
static void observe(const uint8_t *base, const ql_actor_policy *h, const float *obs, activation *to)
{
    const float *inv_scale = (const float *)(const void *)(base + h->inv_scale);
    const int32_t *zero_point = (const int32_t *)(const void *)(base + h->zero_point);
    for (int32_t i = h->obs_len; i < h->layers[0].in_padded; i++) to[i] = 0;
    for (int32_t i = 0; i < h->obs_len; i++) {
        const float low = (float)(-128 - zero_point[i]), high = (float)(127 - zero_point[i]);
        float v = obs[i] * inv_scale[i];
        v = v != v ? 0 : v;
        v = v < low ? low : v > high ? high : v;
        to[i] = (activation)((int32_t)__builtin_rintf(v) + zero_point[i] + 128);
    }
}

void ql_actor_run_int8(const uint8_t *block, const float *obs, int32_t n, float *out)
{
    static _Thread_local activation first[TILE * WIDEST], second[TILE * WIDEST];
    const ql_actor_policy *h = (const ql_actor_policy *)(const void *)block;
    const ql_actor_layer *last = &h->layers[h->layer_count - 1];
    for (int32_t at = 0; at < n; at += TILE) {
        const int32_t rows = n - at < TILE ? n - at : TILE;
        activation *from = first, *to = second;
        float *real = out + (int64_t)at * h->out_len;
        for (int32_t r = 0; r < rows; r++)
            observe(block, h, obs + (int64_t)(at + r) * h->obs_len, from + r * WIDEST);
        for (uint32_t l = 0; l < h->layer_count; l++) {
            dense(block, &h->layers[l], from, rows, to, real);
            activation *swap = from;
            from = to;
            to = swap;
        }
        if (last->kind != QL_ACTOR_REAL)
            for (int32_t r = 0; r < rows; r++)
                for (int32_t i = 0; i < h->out_len; i++)
                    real[r * h->out_len + i] =
                        (float)(from[r * WIDEST + i] - 128 - last->out_zero_point) * last->out_scale;
    }
}
