/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels for Armv8-A with NEON (Cortex-A53, A72): sixteen int8 products in three instructions, or
 * thirty-two in five.
 *
 * SMULL and SMLAL2 add two products of int8 in int16, so weights of -128 are refused by the
 * generator: 2 * 127 * 128 < 2^15. Four products fit where the four weights' magnitudes sum to 255
 * at most. SADALP then adds neighbours to int32. Results equal the portable kernels' bit for bit.
 * Biases and multipliers are padded with zeros to QL_NEON_PAD channels, so that vectors may be read
 * whole; nothing is read beyond the end of an input.
 *
 * Weights of a dense layer stand in blocks of 64 rows, then of 16, then of 4 (ql_neon_rows), the
 * last one padded with zeros, as inputs are to a multiple of eight (NEON) or four (SDOT). In a
 * block, for every four inputs k0 k1 k2 k3, a vector for each four rows a b c d:
 *
 *     NEON   ak0 ak1 bk0 bk1 ck0 ck1 dk0 dk1 | ak2 ak3 bk2 bk3 ck2 ck3 dk2 dk3         ql_mac_neon
 *     SDOT   ak0 ak1 ak2 ak3 | bk0 bk1 bk2 bk3 | ck0 ... | dk0 ...                     ql_mac_dot
 *
 * With NEON each sixteen rows have the next four inputs, k4 to k7, beside them. Inputs of a dense
 * layer may be reordered (`places`), within windows of 64 and whole windows too, so that of many
 * windows the products of k0 k2 k4 k6 fit one int16, and those of k1 k3 k5 k7. These come first.
 *
 * Convolutions make four pixels at a time, 4 rows (NEON) or 16 rows (SDOT), by 32 inputs. A vector
 * of weights holds sixteen inputs of one row (NEON: [rows / 4][inputs / 16][4][16]) or four inputs
 * of four rows (SDOT: [rows / 16][inputs / 4][4][4][4]). Windows are read where they lie if their
 * lines are multiples of 32 bytes and nothing is padded, and copied otherwise.
 * toolchain/quarl/firmware/neon.py writes all of it.
 */
#ifndef QL_KERNELS_NEON_H
#define QL_KERNELS_NEON_H

#include "ql_kernels.h"

enum { QL_NEON_PAD = 16, QL_NEON_CHUNK = 512, QL_TILE_PIXELS = 4, QL_TILE_ROWS = 64 };
enum { QL_ORDER_WINDOW = 64 }; /* inputs that are reordered among themselves */

typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    ql_requant requant;
    ql_store_fn store;
    int32_t in_len;
    int32_t out_len;
    int32_t rows;         /* that share an order, a multiple of 64, QL_NEON_CHUNK at most */
    const int8_t *places; /* [out_len / rows][windows][QL_ORDER_WINDOW]: where in its window of the
                           * input each input lies; NULL: inputs stay in their order */
    const int16_t *order; /* [out_len / rows][1 + windows]: how many fours of inputs have their
                           * products added by four, an even number; which window of the input */
} ql_dense_neon_layer;

/* Of QL_NEON_PAD rows or fewer, in whose blocks inputs would be spread for little. */
typedef struct {
    const int8_t *weights; /* [rows / 4][steps of 32 inputs][2][4][16], padded with zeros */
    const int8_t *is_wide; /* [rows / 4][steps]: 1: four products do not fit int16 */
    const int32_t *bias;
    ql_requant requant;
    ql_store_fn store;
    int32_t in_len;
    int32_t out_len;
} ql_dense_few_layer;

/* The 32-byte steps of a window: `count` runs of `steps`. */
typedef struct {
    int32_t count;
    int32_t steps;
    int32_t stride; /* bytes from a step to the next */
    int32_t skip;   /* bytes from where one run ends to the next one's beginning */
} ql_runs;

/* Rows that are multiplied with windows. */
typedef struct {
    const int8_t *weights;
    const int8_t *is_wide; /* NEON: [rows / 4][steps of a window], 1: four products do not fit */
    const int32_t *bias;
    ql_runs runs;
} ql_tile_rows;

/* acc[pixel * QL_TILE_ROWS + r] = bias[first + r] + weights[first + r] * window of the pixel, for
 * QL_TILE_PIXELS windows and r < count, which is at most QL_TILE_ROWS. Rows up to the next multiple
 * of QL_NEON_PAD may be written too. */
typedef void (*ql_tile_fn)(const ql_tile_rows *rows, int32_t first, int32_t count,
                           const int8_t *const *windows, int32_t *acc);

/* Writes the results of `pixels` pixels, whose sums a ql_tile_fn has made, to
 * out[pixel * pixel_len + first ...]. */
typedef void (*ql_store_tile_fn)(const ql_requant *requant, int32_t first, int32_t count,
                                 const int32_t *acc, int32_t pixels, int32_t pixel_len, void *out);

typedef struct {
    ql_tile_rows rows;
    ql_requant requant;
    ql_store_fn store;
    ql_store_tile_fn store_tile; /* NULL: `store` stores pixel by pixel */
    ql_tile_fn tile;
    ql_window window;
    int32_t is_in_place; /* windows are read where they lie */
    int32_t out_len;
    int32_t out_bytes; /* of one result */
} ql_conv2d_neon_layer;

/* in int8 [in_len]; scratch int8 [4 * in_len, rounded up to 32]; out as layer->store writes */
void ql_dense_neon(const ql_dense_neon_layer *layer, const int8_t *in, int8_t *scratch, void *out);
/* in int8 [in_len]; scratch int8 [in_len, rounded up to 32] unless in_len is a multiple of 32 */
void ql_dense_few_neon(const ql_dense_few_layer *layer, const int8_t *in, int8_t *scratch,
                       void *out);
/* in int8 [in_height][in_width][in_channels]; scratch int8 [QL_TILE_PIXELS * 32 * steps] unless
 * is_in_place */
void ql_conv2d_neon(const ql_conv2d_neon_layer *layer, const int8_t *in, int8_t *scratch,
                    void *out);
/* in int8 [in_height][in_width][in_channels] */
void ql_depthwise_neon(const ql_depthwise_layer *layer, const int8_t *in, void *out);

/* Each four inputs k0 k1 k2 k3 become k0 k1 four times, then k2 k3 four times; zeros beyond the
 * end, up to an even number of fours. */
void ql_spread_neon(const int8_t *in, int32_t in_len, int8_t *out);
/* The same window by window, reordered: places and windows as in ql_dense_neon_layer. */
void ql_spread_order_neon(const int8_t *places, const int16_t *windows, const int8_t *in,
                          int32_t in_len, int8_t *out);
/* acc[row] = bias[row] + weights[row] * in, where in is spread.
 *   groups  fours of inputs, an even number; the products of the first `fours` are added by four
 * Writes rows up to the next multiple of 4. */
void ql_mac_neon(const int8_t *weights, const int32_t *bias, const int8_t *spread, int32_t fours,
                 int32_t groups, int32_t rows, int32_t *acc);
void ql_tile_neon(const ql_tile_rows *rows, int32_t first, int32_t count,
                  const int8_t *const *windows, int32_t *acc);
void ql_store_s8_neon(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                      void *out);
void ql_store_tile_s8_neon(const ql_requant *requant, int32_t first, int32_t count,
                           const int32_t *acc, int32_t pixels, int32_t pixel_len, void *out);
/* Rows of the block that a dense layer's next `left` rows begin with. */
static inline int32_t ql_neon_rows(int32_t left)
{
    return left > 60 ? 64 : (left > 12 ? 16 : 4);
}

#endif
