/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution with NEON, four pixels at a time (decision 0001); contract: ql_kernels_neon.h. */
/* needs: ql_copy_patch */
#include "ql_kernels_neon.h"
#include "ql_patch.h"

#include <string.h>

/* Fours of pixels in row-major order, across line ends; what a last four has too many is computed
 * and dropped. */
void ql_conv2d_neon(const ql_conv2d_neon_layer *layer, const int8_t *in, int8_t *scratch, void *out)
{
    const ql_window *window = &layer->window;
    int32_t pixels = window->out_height * window->out_width;
    int32_t pixel_bytes = layer->out_len * layer->out_bytes;
    int32_t row_bytes = layer->lines.count * layer->lines.bytes; /* of weights */
    uint8_t *pixel = (uint8_t *)out;
    const int8_t *windows[QL_TILE_PIXELS] = {in, in, in, in};
    int32_t acc[QL_TILE_PIXELS * QL_TILE_ROWS];
    int32_t row = 0;
    int32_t column = 0;
    if (!layer->is_in_place) {
        (void)memset(
            scratch, 0,
            (size_t)(QL_TILE_PIXELS *
                     layer->lines.bytes)); /* what lies behind a patch meets weights of zero */
    }
    for (int32_t done = 0; done < pixels; done += QL_TILE_PIXELS) {
        int32_t count = pixels - done < QL_TILE_PIXELS ? pixels - done : QL_TILE_PIXELS;
        for (int32_t p = 0; p < count; p++) {
            if (layer->is_in_place) {
                windows[p] = &in[(row * window->stride_height * window->in_width +
                                  column * window->stride_width) *
                                 window->in_channels];
            } else {
                windows[p] = &scratch[p * layer->lines.bytes];
                ql_copy_patch(window, (const uint8_t *)in, row, column,
                              (uint8_t *)&scratch[p * layer->lines.bytes]);
            }
            column++;
            if (column == window->out_width) {
                column = 0;
                row++;
            }
        }
        for (int32_t first = 0; first < layer->out_len; first += QL_TILE_ROWS) {
            int32_t left = layer->out_len - first;
            int32_t rows = left < QL_TILE_ROWS ? left : QL_TILE_ROWS;
            layer->tile(&layer->weights[first * row_bytes], &layer->bias[first], windows,
                        &layer->lines, rows, acc);
            for (int32_t p = 0; p < count; p++) {
                layer->store(&layer->requant, first, rows, &acc[p * QL_TILE_ROWS],
                             pixel + p * pixel_bytes);
            }
        }
        pixel += count * pixel_bytes;
    }
}
