/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels for Armv8-A with NEON (Cortex-A53, A72): sixteen int8 products in three instructions.
 *
 * SMULL and SMLAL2 add two products of int8 in int16, so weights of -128 are refused by the
 * generator: 2 * 127 * 128 < 2^15. SADALP then adds neighbours to int32. Results equal the portable
 * kernels' bit for bit. Biases and multipliers are padded with zeros to QL_NEON_PAD channels, so
 * that vectors may be read whole; nothing is read beyond the end of an input.
 *
 * Weights of a dense layer stand in blocks of 64 rows, then of 16, then of 4 (ql_neon_rows), the
 * last one padded with zeros, as inputs are to a multiple of eight (NEON) or four (SDOT). In a
 * block, for every four inputs k0 k1 k2 k3, a vector for each four rows a b c d:
 *
 *     NEON   ak0 ak1 bk0 bk1 ck0 ck1 dk0 dk1 | ak2 ak3 bk2 bk3 ck2 ck3 dk2 dk3         ql_mac_neon
 *     SDOT   ak0 ak1 ak2 ak3 | bk0 bk1 bk2 bk3 | ck0 ... | dk0 ...                     ql_mac_dot
 *
 * Convolutions make four pixels at a time, 4 rows (NEON) or 16 rows (SDOT). A vector of weights
 * holds sixteen inputs of one row (NEON: [rows / 4][inputs / 16][4][16]) or four inputs of four
 * rows (SDOT: [rows / 16][inputs / 4][4][4][4]). Windows are read where they lie if their lines are
 * multiples of sixteen bytes and nothing is padded, and copied otherwise.
 * toolchain/quarl/firmware/neon.py writes all of it.
 */
#ifndef QL_KERNELS_NEON_H
#define QL_KERNELS_NEON_H

#include "ql_kernels.h"

enum { QL_NEON_PAD = 16, QL_NEON_CHUNK = 512, QL_TILE_PIXELS = 4, QL_TILE_ROWS = 64 };

typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    ql_requant requant;
    ql_store_fn store;
    int32_t in_len;
    int32_t out_len;
} ql_dense_neon_layer;

/* acc[pixel * QL_TILE_ROWS + row] = bias[row] + weights[row] * window of the pixel, for
 * QL_TILE_PIXELS windows and `rows` rows, which are at most QL_TILE_ROWS. Rows up to the next
 * multiple of QL_NEON_PAD may be written too. */
typedef void (*ql_tile_fn)(const int8_t *weights, const int32_t *bias, const int8_t *const *windows,
                           const ql_lines *lines, int32_t rows, int32_t *acc);

typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    ql_requant requant;
    ql_store_fn store;
    ql_tile_fn tile;
    ql_window window;
    ql_lines lines;
    int32_t is_in_place; /* windows are read where they lie */
    int32_t out_len;
    int32_t out_bytes; /* of one result */
} ql_conv2d_neon_layer;

/* in int8 [in_len]; scratch int8 [4 * in_len, rounded up to 32]; out as layer->store writes */
void ql_dense_neon(const ql_dense_neon_layer *layer, const int8_t *in, int8_t *scratch, void *out);
/* in int8 [in_height][in_width][in_channels]; scratch int8 [QL_TILE_PIXELS * lines.bytes] unless
 * is_in_place */
void ql_conv2d_neon(const ql_conv2d_neon_layer *layer, const int8_t *in, int8_t *scratch,
                    void *out);
/* in int8 [in_height][in_width][in_channels] */
void ql_depthwise_neon(const ql_depthwise_layer *layer, const int8_t *in, void *out);

/* Each four inputs k0 k1 k2 k3 become k0 k1 four times, then k2 k3 four times; zeros beyond the
 * end, up to an even number of fours. */
void ql_spread_neon(const int8_t *in, int32_t in_len, int8_t *out);
/* acc[row] = bias[row] + weights[row] * in, where in is spread; groups: fours of inputs, an even
 * number. Writes rows up to the next multiple of 4. */
void ql_mac_neon(const int8_t *weights, const int32_t *bias, const int8_t *spread, int32_t groups,
                 int32_t rows, int32_t *acc);
void ql_tile_neon(const int8_t *weights, const int32_t *bias, const int8_t *const *windows,
                  const ql_lines *lines, int32_t rows, int32_t *acc);
void ql_store_s8_neon(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                      void *out);

/* Rows of the block that a dense layer's next `left` rows begin with. */
static inline int32_t ql_neon_rows(int32_t left)
{
    return left > 60 ? 64 : (left > 12 ? 16 : 4);
}

#endif
