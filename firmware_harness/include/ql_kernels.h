/* The integer kernels of a policy, and the descriptors a generated policy hands them.
 *
 * Kernels have no heap, no globals and no I/O; the caller owns all memory. Descriptors are constants that the generator has
 * proved consistent (positive lengths, sums below 2^31, products below 2^22), so kernels check nothing at run time.
 * Images are [height][width][channels]. Zero points of inputs are folded into the biases: a kernel multiplies raw integers.
 * Arithmetic: toolchain/docs/decisions/0001-arithmetic.md.
 */
#ifndef QL_KERNELS_H
#define QL_KERNELS_H

#include <stdint.h>

#if defined(__GNUC__)
#define QL_NOINLINE __attribute__((noinline))
#else
#define QL_NOINLINE
#endif

enum { QL_CHUNK = 32 }; /* accumulators a kernel holds on its stack at once */

/* What becomes of accumulators: clamp(round_half_even((float)acc * multiplier) + zero_point, qmin, qmax). */
typedef struct {
    const float *multiplier; /* [channels] */
    int32_t zero_point;
    int32_t qmin;
    int32_t qmax;
} ql_range;

/* Writes `count` results of accumulators to out[first ...]. */
typedef void (*ql_store)(const ql_range *range, int32_t first, int32_t count, const int32_t *acc, void *out);

/* acc[r] = bias[r] + sum_i weight(r, i) * in[i] for r < rows. Weights lie row by row, or as the function says. Returns where those
 * of the next row begin. */
typedef const int8_t *(*ql_mac)(const int8_t *weights, const int32_t *bias, const void *in, int32_t in_len, int32_t rows, int32_t *acc);

typedef struct {
    const int8_t *weights; /* as `mac` reads them */
    const int32_t *bias;   /* [out_len], padded as `mac` wants them */
    ql_range range;
    ql_store store;
    ql_mac mac; /* by the type of the input, the bits of the weights and the core */
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

typedef struct {
    ql_dense_layer dense; /* over patches; in_len is the patch's length, out_len the channels made */
    ql_window window;
    int32_t out_bytes; /* of one result */
} ql_conv2d_layer;

typedef struct {
    const int8_t *weights; /* [kernel_height][kernel_width][channels] */
    const int32_t *bias;   /* [channels] */
    ql_range range;
    ql_store store;
    ql_window window;
    int32_t out_bytes;
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

/* A sum of tensors of different scales: ((a - a_zero_point) * a_factor + (b - b_zero_point) * b_factor) / 2^shift, rounded half up. */
typedef struct {
    int32_t a_zero_point;
    int32_t a_factor; /* up to 2^21 */
    int32_t b_zero_point;
    int32_t b_factor;
    int32_t shift;
    int32_t zero_point;
    int32_t qmin;
    int32_t qmax;
} ql_scaled_add;

typedef struct {
    const void *table; /* int8 or int16, as the output */
    int32_t count;     /* elements to look up */
    int32_t qmin;      /* the integer table[0] stands for */
    int32_t in_bytes;
    int32_t out_bytes;
} ql_table_layer;

typedef struct {
    const float *inv_scale;    /* [count] */
    const int32_t *zero_point; /* [count] */
    int32_t count;
    int32_t qmin;
    int32_t qmax;
} ql_observation;

typedef struct {
    const float *low;        /* [count] */
    const float *high;       /* [count] */
    const float *half_range; /* [count]: (high - low) / 2 in float32; NULL: the outputs are clipped, not mapped from [-1, 1] */
    int32_t count;
} ql_box;

const int8_t *ql_mac_s8(const int8_t *weights, const int32_t *bias, const void *in, int32_t in_len, int32_t rows, int32_t *acc);
const int8_t *ql_mac_s16(const int8_t *weights, const int32_t *bias, const void *in, int32_t in_len, int32_t rows, int32_t *acc);

/* The same for weights of 4 bits, -7 to 7: byte [row / 2][i] is 16 * weight(row, i) + weight(row + 1, i), row even, an odd last row
 * beside zeros; biases are padded likewise, and acc has room for both rows. Such a byte needs no unpacking for the first row: with
 * both = sum byte * in and second = sum weight(row + 1) * in, the first row's sum is (both - second) / 16, exactly. The second row's
 * weight is the byte's low nibble. |acc| < 2^26, which leaves 17 * acc below 2^31. */
const int8_t *ql_mac_s8_w4(const int8_t *weights, const int32_t *bias, const void *in, int32_t in_len, int32_t rows, int32_t *acc);
const int8_t *ql_mac_s16_w4(const int8_t *weights, const int32_t *bias, const void *in, int32_t in_len, int32_t rows, int32_t *acc);

void ql_store_s8(const ql_range *range, int32_t first, int32_t count, const int32_t *acc, void *out);
void ql_store_s16(const ql_range *range, int32_t first, int32_t count, const int32_t *acc, void *out);
void ql_store_f32(const ql_range *range, int32_t first, int32_t count, const int32_t *acc, void *out);

void ql_dense(const ql_dense_layer *layer, const void *in, void *out);
void ql_conv2d(const ql_conv2d_layer *layer, const void *in, void *patch, void *out);
void ql_depthwise(const ql_depthwise_layer *layer, const void *in, void *out);

void ql_max_pool_s8(const ql_pool_layer *layer, const int8_t *in, int8_t *out);
void ql_max_pool_s16(const ql_pool_layer *layer, const int16_t *in, int16_t *out);
void ql_average_pool_s8(const ql_pool_layer *layer, const int8_t *in, int8_t *out);
void ql_mean_s8(const ql_mean_layer *layer, const int8_t *in, int8_t *out);

void ql_table_s8(const ql_table_layer *layer, const void *in, void *out);
void ql_table_wide(const ql_table_layer *layer, const void *in, void *out);
void ql_add_s8(const ql_range *range, int32_t count, const int8_t *a, const int8_t *b, int8_t *out);
void ql_add_scaled_s8(const ql_scaled_add *layer, int32_t count, const int8_t *a, const int8_t *b, int8_t *out);
void ql_concat(int32_t rows, int32_t in_bytes, int32_t out_bytes, int32_t offset_bytes, const void *in, void *out);

void ql_observe_s8(const ql_observation *observation, const float *obs, int8_t *out);
void ql_observe_s16(const ql_observation *observation, const float *obs, int16_t *out);
void ql_observe_pixels(const uint8_t *pixels, int32_t planes, int32_t plane_len, int8_t *out);

int32_t ql_argmax_s8(const int8_t *values, int32_t count);
int32_t ql_argmax_s16(const int16_t *values, int32_t count);
int32_t ql_argmax_f32(const float *values, int32_t count);

void ql_real_s8(const int8_t *values, float scale, int32_t zero_point, int32_t count, float *out);
void ql_real_s16(const int16_t *values, float scale, int32_t zero_point, int32_t count, float *out);
void ql_softmax_f32(const float *values, float beta, int32_t count, float *probabilities);
void ql_act_box(const ql_box *box, const float *values, float *action);

#endif
