/* SPDX-License-Identifier: Apache-2.0 */
/* Inner loops for cores with Helium (Cortex-M55): sixteen int8 products an instruction.
 *
 * Weights stand as sixteen of one row, then the same sixteen of the next three: [rows /
 * 4][blocks][4][16], both axes padded with zeros; of 4 bits as sixteen bytes of one pair of rows
 * (ql_kernels.h), then of the next: [rows / 4][blocks][2][16]; of 2 bits as sixteen bytes of all
 * four rows: [rows / 4][blocks][16]. Biases are padded as the rows are.
 * Inputs are read as they lie, nothing beyond their end. Results equal the portable kernels' bit
 * for bit. acc needs room for the padded rows.
 */
#ifndef QL_KERNELS_MVE_H
#define QL_KERNELS_MVE_H

#include "ql_kernels.h"

enum { QL_MVE_ROWS = 4, QL_MVE_LANES = 16 };

/* Sums of two windows at once: acc[row] and acc[QL_CHUNK + row] for `groups` groups of four rows.
 *   in      two windows, int8 [2][blocks][16]; what stands behind a window meets weights of zero
 *   blocks  of sixteen inputs, at least one
 * Returns where the weights of the next group begin. */
typedef const int8_t *(*ql_mac_lanes_fn)(const int8_t *weights, const int32_t *bias,
                                         const int8_t *in, int32_t blocks, int32_t groups,
                                         int32_t *acc);

typedef struct {
    const int8_t *weights;
    const int32_t *bias; /* [out_len], padded to groups */
    ql_requant requant;
    ql_store_fn store;
    ql_mac_lanes_fn mac; /* by the bits of the weights */
    ql_window window;
    int32_t out_len;
    int32_t blocks;      /* of a window */
    int32_t pixel_bytes; /* of the output */
} ql_conv2d_mve_layer;

/* in       int8 [in_height][in_width][in_channels]
 * scratch  int8 [2][blocks][16]
 * out      [out_height][out_width][out_len]; may overlap input that no later pair of windows reads
 */
void ql_conv2d_mve(const ql_conv2d_mve_layer *layer, const int8_t *in, int8_t *scratch, void *out);

const int8_t *ql_mac_lanes_s8_mve(const int8_t *weights, const int32_t *bias, const int8_t *in,
                                  int32_t blocks, int32_t groups, int32_t *acc);
const int8_t *ql_mac_lanes_s8_w4_mve(const int8_t *weights, const int32_t *bias, const int8_t *in,
                                     int32_t blocks, int32_t groups, int32_t *acc);
const int8_t *ql_mac_lanes_s8_w2_mve(const int8_t *weights, const int32_t *bias, const int8_t *in,
                                     int32_t blocks, int32_t groups, int32_t *acc);

const int8_t *ql_mac_s8_mve(const int8_t *weights, const int32_t *bias, const void *in,
                            int32_t in_len, int32_t rows, int32_t *acc);
const int8_t *ql_mac_s8_w4_mve(const int8_t *weights, const int32_t *bias, const void *in,
                               int32_t in_len, int32_t rows, int32_t *acc);
const int8_t *ql_mac_s8_w2_mve(const int8_t *weights, const int32_t *bias, const void *in,
                               int32_t in_len, int32_t rows, int32_t *acc);
const int8_t *ql_mac_s16_mve(const int8_t *weights, const int32_t *bias, const void *in,
                             int32_t in_len, int32_t rows, int32_t *acc);
void ql_store_s8_mve(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                     void *out);

#endif
