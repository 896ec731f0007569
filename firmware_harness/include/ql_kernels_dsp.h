/* SPDX-License-Identifier: Apache-2.0 */
/* Dense and convolution kernels for cores with SMLAD (Cortex-M4, M7, M33): two multiply-accumulates
 * an instruction.
 *
 * Inputs are spread to int16 once, in the order in which SXTB16 unpacks weights. Of every four
 * inputs k0 k1 k2 k3:
 *
 *     one lane    k0 k2 | k1 k3                       dense: one vector
 *     two lanes   k0 k2 | k0'k2'| k1 k3 | k1'k3'      convolution: two patches side by side
 *
 * Weights stand as four of one row, then the same four of the next: [rows / 2][padded_len /
 * 4][2][4], 4-byte aligned, both axes padded with zeros (toolchain/quarl/firmware/packing.py writes
 * them). Weights of 4 bits stand as ql_kernels.h says, padded likewise: [rows / 2][padded_len]
 * bytes, 4-byte aligned. Results equal the portable kernels' bit for bit.
 */
#ifndef QL_KERNELS_DSP_H
#define QL_KERNELS_DSP_H

#include "ql_kernels.h"

enum { QL_STEP = 8 }; /* inputs the inner loops take at once; padded lengths are its multiples */

/* Writes int8 or int16 in[count] to positions at, at + 1, ... of one of `lanes` lanes; out is where
 * the lane begins. */
typedef void (*ql_spread_fn)(const void *in, int32_t count, int32_t at, int32_t lanes,
                             int16_t *out);

/* acc[2 * pairs] = bias + weights * in, for pairs of rows; steps of QL_STEP inputs, one lane or
 * two. Returns where the weights of the next pair begin. */
typedef const int8_t *(*ql_pairs_fn)(const int8_t *weights, const int32_t *bias, const int16_t *in,
                                     int32_t steps, int32_t pairs, int32_t *acc);

typedef struct {
    const int8_t *weights;
    const int32_t *bias; /* padded as the rows are */
    ql_requant requant;
    ql_store_fn store;
    ql_spread_fn spread;
    ql_pairs_fn mac; /* by the bits of the weights; of two lanes for a convolution */
    int32_t in_len;
    int32_t padded_len;
    int32_t out_len;
} ql_dense_dsp_layer;

typedef struct {
    ql_dense_dsp_layer dense;
    ql_window window;
    int32_t out_bytes;
} ql_conv2d_dsp_layer;

/* scratch: padded_len int16, 4-byte aligned, of any content: what lies beyond in_len is multiplied
 * by zeros */
void ql_dense_dsp(const ql_dense_dsp_layer *layer, const void *in, int16_t *scratch, void *out);
/* scratch: 2 * padded_len int16, 4-byte aligned; out may overlap input that no later pair of
 * patches reads */
void ql_conv2d_dsp(const ql_conv2d_dsp_layer *layer, const void *in, int16_t *scratch, void *out);

void ql_spread_s8(const void *in, int32_t count, int32_t at, int32_t lanes, int16_t *out);
void ql_spread_s16(const void *in, int32_t count, int32_t at, int32_t lanes, int16_t *out);
void ql_spread_fill(int32_t value, int32_t count, int32_t at, int32_t lanes, int16_t *out);
void ql_spread_patch(const ql_conv2d_dsp_layer *layer, const void *in, int32_t row, int32_t column,
                     int16_t *out);

/* One lane; weights of 8 and of 4 bits. */
const int8_t *ql_mac_dsp(const int8_t *weights, const int32_t *bias, const int16_t *in,
                         int32_t steps, int32_t pairs, int32_t *acc);
const int8_t *ql_mac_w4_dsp(const int8_t *weights, const int32_t *bias, const int16_t *in,
                            int32_t steps, int32_t pairs, int32_t *acc);
/* The same for two lanes: acc[0 ...] and acc[QL_CHUNK ...]. */
const int8_t *ql_mac_lanes_dsp(const int8_t *weights, const int32_t *bias, const int16_t *in,
                               int32_t steps, int32_t pairs, int32_t *acc);
const int8_t *ql_mac_lanes_w4_dsp(const int8_t *weights, const int32_t *bias, const int16_t *in,
                                  int32_t steps, int32_t pairs, int32_t *acc);

static inline int32_t ql_spread_index(int32_t position, int32_t lanes)
{
    return ((position >> 2) * 2 + (position & 1)) * 2 * lanes + ((position >> 1) & 1);
}

#endif
