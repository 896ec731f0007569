/* SPDX-License-Identifier: Apache-2.0 */
/* Dense and convolution kernels for cores with SMLAD (Cortex-M4, M7, M33): two multiply-accumulates
 * an instruction. Results equal the portable kernels' bit for bit.
 *
 * Packed rows (toolchain/docs/decisions/0009-packed-rows.md). Rows stand in groups of four,
 * a b c d, inputs in steps of four, k0 k1 k2 k3. A halfword holds the weights of several rows for
 * one input, so one SMLAD serves several rows:
 *
 *     8 bits   256 * a + b, 256 * c + d
 *              a step: ab k0, ab k2 | cd k0, cd k2 | ab k1, ab k3 | cd k1, cd k3    4 words
 *     4 bits   256 * (16 * a + b + 8) + 16 * (c + 8) + d + 8
 *              a step: k0, k2 | k1, k3                                              2 words
 *     2 bits   2^14 * a + b + 1, 2^14 * c + d + 1: bits 15, 14, 1 and 0 of a halfword
 *              a step: ab k0, ab k2, turned left by 0 bits; cd k0, cd k2 by 4;
 *                      ab k1, ab k3 by 8; cd k1, cd k3 by 12                        1 word
 *
 * With S = sum of halfword * input and B = sum of its low byte * input, the sum of the high byte
 * is (S - B) / 256, exactly, while its magnitude is below 2^23. The generator splits the inputs of
 * a layer into parts for which that holds (toolchain/quarl/firmware/packed_rows.py). Weights lie
 * [chunks of QL_CHUNK rows][parts][groups][steps], 4-byte aligned, padded with zero weights. The
 * biases of a group, 4 int32, stand before its steps (8 and 2 bits) or behind them (4 bits), in the
 * first part; zeros in the others.
 *
 * 2 bits have no parts but blocks of QL_BLOCK steps, of which the first may have fewer. In a block
 * |sum of b * input| is below 2^13: S starts at 2^13 - sum of inputs, ends as 2^14 * A + B + 2^13,
 * and both are added to acc.
 *
 * Inputs are spread to int16 once, in the order in which SXTB16 unpacks a word:
 *
 *     one lane    k0 k2 | k1 k3                        dense: one vector
 *     two lanes   k0 k2 | k0'k2' | k1 k3 | k1'k3'      convolution: two windows side by side */
#ifndef QL_KERNELS_DSP_H
#define QL_KERNELS_DSP_H

#include "ql_kernels.h"

#include <string.h>

enum { QL_STEP = 4, QL_GROUP = 4 }; /* inputs of a step, rows of a group */
enum { QL_LANE = QL_CHUNK + 1 };    /* words of a lane: its sums, and what 4-bit weights add */
enum { QL_BLOCK = 16, QL_LOW_START = 1 << 13 }; /* 2-bit weights: steps, what S starts at */

/* acc = bias + weights * in, for `groups` groups of rows and `steps` steps of inputs.
 *   in   spread, of one lane or of two, by the function's name
 *   acc  [4 * groups]; of two lanes the second's begin at acc[QL_LANE]. Weights of 4 bits take
 *        acc[QL_CHUNK] of each lane from its rows b, c, d. Weights of 2 bits find behind `in` what
 *        their sums start at, int32 [blocks][lanes]
 * Returns where the weights of the next group begin. */
typedef const int16_t *(*ql_mac_dsp_fn)(const int16_t *weights, const int16_t *in, int32_t steps,
                                        int32_t groups, int32_t *acc);

typedef struct ql_rows ql_rows;

/* The same for the rows of a chunk whose weights begin at `weights`, over all parts of the inputs.
 * Behind them is scratch, [lanes * QL_LANE] words; of 2-bit weights [blocks * lanes] words. */
typedef const int16_t *(*ql_sums_fn)(const ql_rows *rows, const int16_t *weights, int16_t *in,
                                     int32_t lanes, int32_t groups, int32_t *acc);

/* Rows that are multiplied with a spread vector, or with two. */
struct ql_rows {
    const int16_t *weights; /* and biases */
    ql_requant requant;
    ql_store_fn store;
    ql_mac_dsp_fn mac; /* by the bits of the weights and the lanes */
    ql_sums_fn sums;   /* NULL: one call of `mac` makes them */
    int32_t out_len;
    int32_t steps;
    int32_t part; /* steps of a part, the last one may have fewer */
};

/* Spreads int8 or int16 in[count] into one lane. Reads whole steps: what stands behind `count` is
 * spread with it and meets weights of zero. */
typedef void (*ql_spread_fn)(const void *in, int32_t count, int16_t *out);

/* The same for two windows, their lines one behind the other; a line is whole words. */
typedef void (*ql_spread_lanes_fn)(const void *first, const void *second, const ql_lines *lines,
                                   int16_t *out);

typedef struct {
    ql_rows rows;
    ql_spread_fn spread; /* by the type of the input */
    int32_t in_len;
} ql_dense_dsp_layer;

typedef struct {
    ql_rows rows;
    ql_spread_lanes_fn spread; /* by the type of the input */
    ql_window window;
    ql_lines lines;       /* of a window that is read where it lies; count 0: none is */
    ql_lines patch;       /* of a window that was copied: one line */
    int32_t pixel_bytes;  /* of the output */
    int32_t patch_offset; /* int16 of scratch before the copies */
} ql_conv2d_dsp_layer;

/* Weights and biases stand in groups of four channels: 4 int32, then int8 [taps][4]; 4-byte
 * aligned, padded with zeros. */
typedef struct {
    const int8_t *weights;
    ql_requant requant;
    ql_store_fn store;
    ql_window window;
    int32_t pixel_bytes; /* of the output */
    int32_t padding_len; /* bytes that stand for a pixel beyond the image; 0: nothing is padded */
} ql_depthwise_dsp_layer;

/* in int8 or int16 [in_len], readable to the end of its last step
 * scratch  [QL_STEP * steps] int16, 4-byte aligned, then what rows.sums wants
 * out      [out_len], as rows.store writes */
void ql_dense_dsp(const ql_dense_dsp_layer *layer, const void *in, int16_t *scratch, void *out);

/* in       int8 or int16 [in_height][in_width][in_channels]
 * scratch  [2 * QL_STEP * steps] int16, 4-byte aligned, then two copies of a window, or what
 *          rows.sums wants
 * out      [out_height][out_width][rows.out_len]; may overlap input that no later pair of windows
 *          reads */
void ql_conv2d_dsp(const ql_conv2d_dsp_layer *layer, const void *in, int16_t *scratch, void *out);

/* One filter per channel.
 *   in       int8 [in_height][in_width][in_channels], readable to the end of its last word
 *   scratch  [2 * taps] words, then padding_len bytes
 *   out      [out_height][out_width][in_channels]; may overlap input that neither this pixel nor a
 *            later one reads */
void ql_depthwise_dsp(const ql_depthwise_dsp_layer *layer, const int8_t *in, int32_t *scratch,
                      void *out);

/* acc[i] = bias + sum over taps of weight * in[taps[tap] + i] for i < channels, which acc has whole
 * fours of. Returns where the weights of the next group begin. */
const int8_t *ql_taps_dsp(const int8_t *weights, const int32_t *taps, int32_t count,
                          const int8_t *in, int32_t channels, int32_t *acc);

/* ql_spread_fn and ql_spread_lanes_fn. */
void ql_spread_s8(const void *in, int32_t count, int16_t *out);
void ql_spread_s16(const void *in, int32_t count, int16_t *out);
void ql_spread_lanes_s8(const void *first, const void *second, const ql_lines *lines, int16_t *out);
void ql_spread_lanes_s16(const void *first, const void *second, const ql_lines *lines,
                         int16_t *out);

/* ql_mac_dsp_fn for one lane and for two, weights of 8, 4 and 2 bits. ql_mac_w4_dsp and
 * ql_mac_w2_dsp want an even number of steps. */
const int16_t *ql_mac_dsp(const int16_t *weights, const int16_t *in, int32_t steps, int32_t groups,
                          int32_t *acc);
const int16_t *ql_mac_lanes_dsp(const int16_t *weights, const int16_t *in, int32_t steps,
                                int32_t groups, int32_t *acc);
const int16_t *ql_mac_w4_dsp(const int16_t *weights, const int16_t *in, int32_t steps,
                             int32_t groups, int32_t *acc);
const int16_t *ql_mac_lanes_w4_dsp(const int16_t *weights, const int16_t *in, int32_t steps,
                                   int32_t groups, int32_t *acc);
const int16_t *ql_mac_w2_dsp(const int16_t *weights, const int16_t *in, int32_t steps,
                             int32_t groups, int32_t *acc);
const int16_t *ql_mac_lanes_w2_dsp(const int16_t *weights, const int16_t *in, int32_t steps,
                                   int32_t groups, int32_t *acc);

/* ql_sums_fn for weights of 8, 4 and 2 bits. */
const int16_t *ql_sums_dsp(const ql_rows *rows, const int16_t *weights, int16_t *in, int32_t lanes,
                           int32_t groups, int32_t *acc);
const int16_t *ql_sums_w4_dsp(const ql_rows *rows, const int16_t *weights, int16_t *in,
                              int32_t lanes, int32_t groups, int32_t *acc);
const int16_t *ql_sums_w2_dsp(const ql_rows *rows, const int16_t *weights, int16_t *in,
                              int32_t lanes, int32_t groups, int32_t *acc);

/* Copies the biases of a group to acc; returns what lies behind them. */
static inline const int16_t *ql_take_bias(const int16_t *weights, int32_t *acc)
{
    (void)memcpy(acc, weights, QL_GROUP * sizeof *acc);
    return weights + 2 * QL_GROUP;
}

/* The 2-bit weight of a row for an input of a step, in spread order, whose word begins at `word`.
 */
static inline int32_t ql_weight_w2(const int16_t *word, int32_t row, int32_t input)
{
    uint32_t bits = (uint32_t)(uint16_t)word[1] << 16 | (uint16_t)word[0];
    int32_t turn = 4 * (input / 2 * 2 + row / 2);
    bits = turn == 0 ? bits : bits >> turn | bits << (32 - turn);
    bits >>= 16 * (input % 2);
    return row % 2 == 1 ? (int32_t)(bits & 3) - 1 : (int32_t)((bits >> 14 & 3) ^ 2) - 2;
}

/* Where input `position` of lane 0 lies among spread inputs. */
static inline int32_t ql_spread_index(int32_t position, int32_t lanes)
{
    return ((position >> 2) * 2 + (position & 1)) * 2 * lanes + ((position >> 1) & 1);
}

#endif
