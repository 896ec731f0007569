/* SPDX-License-Identifier: Apache-2.0 */
/* Dense layers in float32 sums, for actors whose precision is fp16 or fp32. Included twice, with
 * RUN, WEIGHT (type of a weight) and WIDEN (16 weights -> 16 floats) defined. Vectors are those of
 * GCC and clang: one text for AVX-512, AVX2 and plain machines. */

/* 64 sums of each of n rows; n is a constant where it is called. */
INLINE void NAME(dot_block)(const WEIGHT *w, const float *bias, const float *rows, int32_t inputs,
                            int32_t n, float acc[][BLOCK])
{
    const int32_t vectors = n == 1 ? ALONE : SHARED;
    for (int32_t first = 0; first < BLOCK; first += 16 * vectors) {
        vector sum[TILE][ALONE];
        for (int32_t b = 0; b < n; b++)
            for (int32_t v = 0; v < vectors; v++) sum[b][v] = load(bias + first + 16 * v);
        const WEIGHT *at = w + first;
        for (int32_t k = 0; k < inputs; k++, at += BLOCK)
            for (int32_t v = 0; v < vectors; v++) {
                const vector wide = WIDEN(at + 16 * v);
                for (int32_t b = 0; b < n; b++) {
                    const vector x = rows[b * WIDEST + k] - (vector){0};
                    sum[b][v] = sum[b][v] + x * wide;
                }
            }
        for (int32_t b = 0; b < n; b++)
            for (int32_t v = 0; v < vectors; v++)
                memcpy(&acc[b][first + 16 * v], &sum[b][v], sizeof sum[b][v]);
    }
}

static void NAME(dense)(const uint8_t *base, const ql_actor_layer *p, const float *in, int32_t n,
                        float *out)
{
    const float *bias = (const float *)(const void *)(base + p->bias);
    float acc[TILE][BLOCK];
    for (int32_t o = 0; o < p->out_padded; o += BLOCK) {
        const WEIGHT *w = (const WEIGHT *)(const void *)(base + p->weights);
        w += (int64_t)o * p->in_padded;
        switch (n) {
        case 1: NAME(dot_block)(w, bias + o, in, p->in_len, 1, acc); break;
        case 2: NAME(dot_block)(w, bias + o, in, p->in_len, 2, acc); break;
        case 3: NAME(dot_block)(w, bias + o, in, p->in_len, 3, acc); break;
        default: NAME(dot_block)(w, bias + o, in, p->in_len, TILE, acc); break;
        }
        for (int32_t b = 0; b < n; b++) activate(p->kind, acc[b], out + b * WIDEST + o);
    }
}

void RUN(const uint8_t *block, const float *obs, int32_t n, float *out)
{
    static _Thread_local float first[TILE * WIDEST], second[TILE * WIDEST];
    const ql_actor_policy *h = (const ql_actor_policy *)(const void *)block;
    for (int32_t at = 0; at < n; at += TILE) {
        const int32_t rows = n - at < TILE ? n - at : TILE;
        float *from = first, *to = second;
        for (int32_t r = 0; r < rows; r++)
            memcpy(from + r * WIDEST, obs + (int64_t)(at + r) * h->obs_len,
                   (size_t)h->obs_len * sizeof *obs);
        for (uint32_t l = 0; l < h->layer_count; l++) {
            NAME(dense)(block, &h->layers[l], from, rows, to);
            float *swap = from;
            from = to;
            to = swap;
        }
        for (int32_t r = 0; r < rows; r++)
            memcpy(out + (int64_t)(at + r) * h->out_len, from + r * WIDEST,
                   (size_t)h->out_len * sizeof *out);
    }
}
