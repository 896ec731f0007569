/* SPDX-License-Identifier: Apache-2.0 */
/* A policy as actors play it on a host: dense layers in one flat block of bytes.
 *
 * The block is sent as it is and read in place, also from shared memory: to load it is to take a
 * pointer. It starts with ql_actor_policy, its layers follow, then the arrays that they point to
 * by their distance from the start. Numbers are little-endian. Arithmetic of int8: decision 0001.
 *
 *   int8   weights [out_padded/64][in_padded/4][64][4], int8. Activations are bytes q + 128, so
 *          the bias holds -(zero_point + 128) * sum(weights) and no zero point is left in the loop.
 *   fp16   weights [out_padded/64][in_padded][64], IEEE half; sums in float32.
 *   fp32   the same in float32.
 *
 * Padding is zero. Biases are int32 for int8 and float32 for the others. */
#ifndef QL_ACTOR_H
#define QL_ACTOR_H

#include <stdint.h>

enum { QL_ACTOR_MAGIC = 0x41514c51, QL_ACTOR_FORMAT = 1 };
enum { QL_ACTOR_BLOCK = 64, QL_ACTOR_WIDEST = 8192 };

enum { QL_ACTOR_INT8 = 0, QL_ACTOR_FP16 = 1, QL_ACTOR_FP32 = 2 }; /* precision */

/* What a layer does with its sums. int8: float32 results; clamped bytes (a ReLU is the clamp at the
 * zero point); clamped bytes through a table. Others: nothing, max(0, x), tanh(x). */
enum { QL_ACTOR_REAL = 0, QL_ACTOR_CLAMP = 1, QL_ACTOR_TANH = 2 };

typedef struct {
    int32_t in_len, in_padded;   /* padded to 4 */
    int32_t out_len, out_padded; /* padded to 64 */
    int32_t kind;
    int32_t zero_point, qmin, qmax; /* of the sums made int8, before a table */
    float out_scale;                /* of the layer's integers, after a table */
    int32_t out_zero_point;         /* as well */
    float sum_scale;                /* of the sums made int8, before a table */
    int32_t reserved;
    int64_t weights, bias;
    int64_t multiplier, step; /* float32 [out_padded]; step is a channel's weight scale */
    int64_t table;            /* uint8 [256], entries and index q + 128 */
} ql_actor_layer;

typedef struct {
    uint32_t magic, format, precision, layer_count;
    int32_t obs_len, out_len;
    int64_t version; /* counts publications */
    int64_t learner_step;
    int64_t bytes;
    int64_t inv_scale, zero_point; /* float32 and int32 [obs_len], int8 only */
    uint8_t digest[32];            /* SHA-256 of all bytes after it */
    ql_actor_layer layers[];
} ql_actor_policy;

/* obs float32 [n][obs_len] -> out float32 [n][out_len], in real units. The caller has checked the
 * block. One thread, no allocation. */
void ql_actor_run(const uint8_t *block, const float *obs, int32_t n, float *out);
void ql_actor_run_int8(const uint8_t *block, const float *obs, int32_t n, float *out);
void ql_actor_run_fp16(const uint8_t *block, const float *obs, int32_t n, float *out);
void ql_actor_run_fp32(const uint8_t *block, const float *obs, int32_t n, float *out);

/* The learner's side. peak and sum float32 [rows]: the largest and the sum of |weights| of each row.
 * weights float32 [rows][cols]. */
void ql_actor_row_sizes(const float *weights, int32_t rows, int32_t cols, float *peak, float *sum);

/* Writes a layer's weights into an int8 block whose steps are in place: to the nearest integer, as
 * round(double) / double, at most 127. bias int32 [out_len] in steps of the sums; the block gets it
 * less (in_zero_point + 128) * sum(weights). */
void ql_actor_pack_int8(uint8_t *block, int32_t layer, const float *weights, const int32_t *bias,
                        int32_t in_zero_point);

/* Writes a layer's weights into an fp16 or fp32 block. */
void ql_actor_pack_float(uint8_t *block, int32_t layer, const float *weights);

#endif
