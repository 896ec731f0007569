/* SPDX-License-Identifier: Apache-2.0 */
/* The integer kernels of a policy, and the descriptors that a generated policy hands them.
 *
 * What holds for every function here:
 *   - No heap, no globals, no I/O; the caller owns all memory. Pointers are never null unless said.
 *   - Descriptors are constants that the generator has proved consistent (positive lengths, sums
 *     below 2^31, products below 2^22), so kernels check nothing at run time.
 *   - Images are [height][width][channels], vectors [features], both without gaps.
 *   - Zero points of inputs are folded into the biases: a kernel multiplies raw integers.
 *   - `out` must not overlap an input unless the prototype says how far it may.
 * Arithmetic: toolchain/docs/decisions/0001-arithmetic.md. */
#ifndef QL_KERNELS_H
#define QL_KERNELS_H

#include <stdint.h>

/* The Arduino IDE gives a library no flags of its own. */
#if defined(ARDUINO) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("fp-contract=off")
#endif

#if defined(__GNUC__)
#define QL_NOINLINE __attribute__((noinline))
#else
#define QL_NOINLINE
#endif

enum { QL_CHUNK = 32 }; /* accumulators a kernel holds on its stack at once */

/* What becomes of accumulators:
 * clamp(round_half_even((float)acc * multiplier) + zero_point, qmin, qmax). */
typedef struct {
    const float *multiplier; /* [channels], each positive and below 256 */
    int32_t zero_point;      /* qmin to qmax */
    int32_t qmin;            /* -128 to 127 for int8 results, -32768 to 32767 for int16 */
    int32_t qmax;
} ql_requant;

/* Writes the results of acc[count] to out[first ...]: int8, int16 or float. |acc| < 2^31. */
typedef void (*ql_store_fn)(const ql_requant *requant, int32_t first, int32_t count,
                            const int32_t *acc, void *out);

/* acc[r] = bias[r] + sum_i weight(r, i) * in[i] for r < rows.
 *   weights  int8, as the function's comment draws them
 *   bias     [rows], padded as the weights' rows are
 *   in       int8 or int16 [in_len], by the function's name
 *   rows     1 to QL_CHUNK; acc has room for the padded rows
 * Returns where the weights of the next row begin. */
typedef const int8_t *(*ql_mac_fn)(const int8_t *weights, const int32_t *bias, const void *in,
                                   int32_t in_len, int32_t rows, int32_t *acc);

/* A fully connected layer. */
typedef struct {
    const int8_t *weights; /* as `mac` reads them */
    const int32_t *bias;   /* [out_len], padded as `mac` wants them */
    ql_requant requant;
    ql_store_fn store;
    ql_mac_fn mac; /* by the type of the input, the bits of the weights and the core */
    int32_t in_len;
    int32_t out_len;
} ql_dense_layer;

/* Where windows lie on an image. */
typedef struct {
    int32_t in_height;
    int32_t in_width;
    int32_t in_channels;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_height;
    int32_t stride_width;
    int32_t pad_top;
    int32_t pad_left;
    int32_t out_height;
    int32_t out_width;
    int32_t in_zero_point; /* what padding holds */
    int32_t element_bytes; /* of the input: 1 int8, 2 int16 */
} ql_window;

/* The parts of a window that lie side by side in memory. */
typedef struct {
    int32_t count;
    int32_t bytes;  /* of each, a multiple of 4 */
    int32_t stride; /* bytes from one to the next */
} ql_lines;

typedef struct {
    ql_dense_layer dense; /* over patches; in_len is a patch's length, out_len the channels made */
    ql_window window;
    int32_t out_bytes; /* of one result */
} ql_conv2d_layer;

typedef struct {
    const int8_t *weights; /* [kernel_height][kernel_width][channels] */
    const int32_t *bias;   /* [channels] */
    ql_requant requant;
    ql_store_fn store;
    ql_window window;
    int32_t out_bytes; /* of one result */
} ql_depthwise_layer;

typedef struct {
    ql_window window; /* of a pooling; padding is never looked at */
    int32_t qmin;
    int32_t qmax;
} ql_pool_layer;

typedef struct {
    float multiplier;
    int32_t in_zero_point;
    int32_t zero_point;
    int32_t qmin;
    int32_t qmax;
    int32_t pixels;
    int32_t channels;
} ql_mean_layer;

/* A sum of two tensors that share scale and zero point with their sum. */
typedef struct {
    int32_t zero_point;
    int32_t qmin;
    int32_t qmax;
} ql_add_layer;

/* A product, place by place: (a - a_zero_point) * (b - b_zero_point), below 2^24, rescaled. Without
 * b: a - a_zero_point, rescaled. */
typedef struct {
    float multiplier;
    int32_t a_zero_point;
    int32_t b_zero_point;
    int32_t zero_point;
    int32_t qmin;
    int32_t qmax;
    int32_t count;   /* elements */
    int32_t a_bytes; /* of an element: 1 is int8, 2 int16 */
    int32_t b_bytes; /* 0 without b */
    int32_t out_bytes;
} ql_mul_layer;

/* A sum of tensors of different scales, rounded half up:
 * ((a - a_zero_point) * a_factor + (b - b_zero_point) * b_factor) / 2^shift. */
typedef struct {
    int32_t a_zero_point;
    int32_t a_factor; /* up to 2^21 */
    int32_t b_zero_point;
    int32_t b_factor; /* up to 2^21 */
    int32_t shift;    /* 1 to 31 */
    int32_t zero_point;
    int32_t qmin;
    int32_t qmax;
} ql_scaled_add_layer;

typedef struct {
    const void *table; /* int8 or int16, as the output */
    int32_t count;     /* elements to look up */
    int32_t qmin;      /* the integer that table[0] stands for */
    int32_t in_bytes;  /* of an element: 1 or 2 */
    int32_t out_bytes;
} ql_table_layer;

/* How raw observations become integers. */
typedef struct {
    const float *inv_scale;    /* [count] */
    const int32_t *zero_point; /* [count] */
    int32_t count;
    int32_t qmin;
    int32_t qmax;
} ql_observation;

/* The action of a box, in units of the environment. */
typedef struct {
    const float *low;        /* [count] */
    const float *high;       /* [count] */
    const float *half_range; /* [count]: (high - low) / 2 in float32; NULL: clipped only */
    int32_t count;
} ql_box;

/* ql_mac_fn of int8 and of int16 inputs. Weights stand [groups of four rows][in_len][4], padded
 * with zeros. */
const int8_t *ql_mac_s8(const int8_t *weights, const int32_t *bias, const void *in, int32_t in_len,
                        int32_t rows, int32_t *acc);
const int8_t *ql_mac_s16(const int8_t *weights, const int32_t *bias, const void *in, int32_t in_len,
                         int32_t rows, int32_t *acc);

/* The same for weights of 4 bits, -7 to 7: two bytes [groups][in_len][2] hold four rows a b c d as
 * 16 * a + b and 16 * c + d. Such a byte needs no unpacking for the first row: with both = sum of
 * byte * in and second = sum of b * in, the first row's sum is (both - second) / 16, exactly.
 * |acc| < 2^26, which leaves 17 * acc below 2^31. */
const int8_t *ql_mac_s8_w4(const int8_t *weights, const int32_t *bias, const void *in,
                           int32_t in_len, int32_t rows, int32_t *acc);
const int8_t *ql_mac_s16_w4(const int8_t *weights, const int32_t *bias, const void *in,
                            int32_t in_len, int32_t rows, int32_t *acc);

/* The same for weights of 2 bits, -1 to 1.
 *   s8   4-byte aligned, [groups][eights of inputs][2] words, of rows a b and of rows c d. The low
 *        half of a word holds b + 1 for eight inputs, 2 bits each, the high half a + 1
 *   s16  bytes [groups][in_len], 64 * a + 16 * b + 4 * c + d. The low 6, 4 and 2 bits of one,
 * signed, are what it holds without a, then without b, then without c: four sums, whose differences
 *        are the rows'. |acc| < 2^25, which leaves 64 * acc below 2^31 */
const int8_t *ql_mac_s8_w2(const int8_t *weights, const int32_t *bias, const void *in,
                           int32_t in_len, int32_t rows, int32_t *acc);
const int8_t *ql_mac_s16_w2(const int8_t *weights, const int32_t *bias, const void *in,
                            int32_t in_len, int32_t rows, int32_t *acc);

/* ql_store_fn. s8 and s16 round and clamp; f32 is for a wide head: the exact accumulators
 * (|acc| < 2^24) in real units, acc * multiplier rounded once to float32. */
void ql_store_s8(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                 void *out);
void ql_store_s16(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                  void *out);
void ql_store_f32(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                  void *out);

/* in int8 or int16 [in_len], as layer->mac reads; out [out_len], as layer->store writes. */
void ql_dense(const ql_dense_layer *layer, const void *in, void *out);

/* Cross-correlation.
 *   in     int8 or int16 [in_height][in_width][in_channels]
 *   patch  scratch, dense.in_len elements of the input's type
 *   out    [out_height][out_width][dense.out_len]; may overlap input that no later patch reads */
void ql_conv2d(const ql_conv2d_layer *layer, const void *in, void *patch, void *out);

/* One filter per channel.
 *   in   int8 or int16 [in_height][in_width][in_channels], by window.element_bytes
 *   out  [out_height][out_width][in_channels]; may overlap input that neither this pixel nor a
 *        later one reads */
void ql_depthwise(const ql_depthwise_layer *layer, const void *in, void *out);

/* Poolings: the largest integer under each window; the mean of those on the image, rounded half
 * away from zero.
 *   in   [in_height][in_width][in_channels]
 *   out  [out_height][out_width][in_channels]; may overlap input that neither this pixel nor a
 *        later one reads */
void ql_max_pool_s8(const ql_pool_layer *layer, const int8_t *in, int8_t *out);
void ql_max_pool_s16(const ql_pool_layer *layer, const int16_t *in, int16_t *out);
void ql_average_pool_s8(const ql_pool_layer *layer, const int8_t *in, int8_t *out);

/* The mean over height and width: round_half_even(acc * multiplier + zero_point), each step rounded
 * to float32. in [pixels][channels]; out [channels], may be in. */
void ql_mean_s8(const ql_mean_layer *layer, const int8_t *in, int8_t *out);

/* out[i] = table[in[i] - qmin] for i < layer->count. s8 and s16: all of that type, out may be in.
 * wide: input or output is int16. */
void ql_table_s8(const ql_table_layer *layer, const void *in, void *out);
void ql_table_s16(const ql_table_layer *layer, const void *in, void *out);
void ql_table_wide(const ql_table_layer *layer, const void *in, void *out);

/* out[i] = clamp(a[i] + b[i] - zero_point) for i < count; out may be a or b. */
void ql_add_s8(const ql_add_layer *layer, int32_t count, const int8_t *a, const int8_t *b,
               int8_t *out);
void ql_add_s16(const ql_add_layer *layer, int32_t count, const int16_t *a, const int16_t *b,
                int16_t *out);
/* What ql_mul_layer describes, clamped; b may be null. out may be an input of the same type, or one
 * whose elements are larger. */
void ql_mul(const ql_mul_layer *layer, const void *a, const void *b, void *out);
void ql_requantize(const ql_mul_layer *layer, const void *in, void *out);
/* The sum that ql_scaled_add_layer describes, clamped, for i < count; out may be a or b. */
void ql_add_scaled_s8(const ql_scaled_add_layer *layer, int32_t count, const int8_t *a,
                      const int8_t *b, int8_t *out);

/* One input of a concatenation along the last axis: its `rows` rows of in_bytes go to offset_bytes
 * in rows of out_bytes. */
void ql_concat(int32_t rows, int32_t in_bytes, int32_t out_bytes, int32_t offset_bytes,
               const void *in, void *out);

/* obs [count], units of the environment, any bits: NaN becomes the zero point; out [count]. */
void ql_observe_s8(const ql_observation *observation, const float *obs, int8_t *out);
void ql_observe_s16(const ql_observation *observation, const float *obs, int16_t *out);
/* Bytes become int8 by p XOR 0x80: scale 1/255, zero point -128, no arithmetic.
 *   pixels  uint8 [planes][plane_len]; planes is 1 where channels come last already
 *   out     int8 [plane_len][planes]; may be pixels if planes is 1 */
void ql_observe_pixels(const uint8_t *pixels, int32_t planes, int32_t plane_len, int8_t *out);

/* The index of the largest of values [count], the lowest where several are equal. count >= 1. */
int32_t ql_argmax_s8(const int8_t *values, int32_t count);
int32_t ql_argmax_s16(const int16_t *values, int32_t count);
int32_t ql_argmax_f32(const float *values, int32_t count);

/* What integers mean: out[i] = scale * (values[i] - zero_point) for i < count. */
void ql_real_s8(const int8_t *values, float scale, int32_t zero_point, int32_t count, float *out);
void ql_real_s16(const int16_t *values, float scale, int32_t zero_point, int32_t count, float *out);

/* Probabilities [count] of values [count] in real units; may be values. Outside the exact set: the
 * same bits on every target that rounds as IEEE 754 says, but not what another runtime's softmax
 * gives. */
void ql_softmax_f32(const float *values, float beta, int32_t count, float *probabilities);

/* The index at which a random number falls among probabilities [count], at least one of them 2^-24:
 * each counts as a whole number of 2^24ths, so the same on every target. */
int32_t ql_sample_f32(const float *probabilities, int32_t count, uint32_t random);

/* values [count] in real units, mapped from [-1, 1] to [low, high] where half_range is given, then
 * clipped; action [count] may be values. Every step rounds to float32, in the host's order. */
void ql_act_box(const ql_box *box, const float *values, float *action);

#endif
