/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution with Helium, two windows at a time (decision 0001); contract: ql_kernels_mve.h. */
/* needs: ql_copy_patch */
#include "ql_kernels_mve.h"
#include "ql_patch.h"

/* Pairs of pixels in row-major order, across line ends; the second window of an odd last pixel is
 * an old one, and its sums are dropped. */
void ql_conv2d_mve(const ql_conv2d_mve_layer *layer, const int8_t *in, int8_t *scratch, void *out)
{
    const ql_window *window = &layer->window;
    uint8_t *pixel = (uint8_t *)out;
    int32_t row = 0;
    int32_t column = 0;
    int32_t acc[2 * QL_CHUNK];
    for (int32_t left = window->out_height * window->out_width; left > 0; left -= 2) {
        int32_t lanes = left == 1 ? 1 : 2;
        for (int32_t lane = 0; lane < lanes; lane++) {
            int8_t *patch = &scratch[lane * layer->blocks * QL_MVE_LANES];
            ql_copy_patch(window, (const uint8_t *)in, row, column, (uint8_t *)patch);
            column++;
            if (column == window->out_width) {
                column = 0;
                row++;
            }
        }
        const int8_t *weights = layer->weights;
        for (int32_t first = 0; first < layer->out_len; first += QL_CHUNK) {
            int32_t rest = layer->out_len - first;
            int32_t rows = rest < QL_CHUNK ? rest : QL_CHUNK;
            int32_t groups = (int32_t)((uint32_t)(rows + QL_MVE_ROWS - 1) / QL_MVE_ROWS);
            const int32_t *bias = &layer->bias[first];
            weights = layer->mac(weights, bias, scratch, layer->blocks, groups, acc);
            for (int32_t lane = 0; lane < lanes; lane++) {
                layer->store(&layer->requant, first, rows, &acc[lane * QL_CHUNK],
                             pixel + lane * layer->pixel_bytes);
            }
        }
        pixel += 2 * layer->pixel_bytes;
    }
}
