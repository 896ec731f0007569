/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution with NEON, four pixels at a time (decision 0001); contract: ql_kernels_neon.h. */
/* needs: ql_copy_patch */
#include "ql_kernels_neon.h"
#include "ql_patch.h"

#include <string.h>

/* Where the windows of the next `count` pixels begin, from (row, column) on; a window that is not
 * read where it lies is copied. */
static void find_windows(const ql_conv2d_neon_layer *layer, const int8_t *in, int8_t *scratch,
                         int32_t *row, int32_t *column, int32_t count, const int8_t **windows)
{
    const ql_window *window = &layer->window;
    int32_t patch_bytes = layer->rows.runs.steps * 32;
    for (int32_t p = 0; p < count; p++) {
        if (layer->is_in_place) {
            windows[p] = &in[(*row * window->stride_height * window->in_width +
                              *column * window->stride_width) *
                             window->in_channels];
        } else {
            windows[p] = &scratch[p * patch_bytes];
            ql_copy_patch(window, (const uint8_t *)in, *row, *column,
                          (uint8_t *)&scratch[p * patch_bytes]);
        }
        (*column)++;
        if (*column == window->out_width) {
            *column = 0;
            (*row)++;
        }
    }
}

static void store(const ql_conv2d_neon_layer *layer, int32_t first, int32_t rows,
                  const int32_t *acc, int32_t pixels, uint8_t *out)
{
    if (layer->store_tile != NULL) {
        layer->store_tile(&layer->requant, first, rows, acc, pixels, layer->out_len, out);
        return;
    }
    for (int32_t p = 0; p < pixels; p++) {
        layer->store(&layer->requant, first, rows, &acc[p * QL_TILE_ROWS],
                     out + p * layer->out_len * layer->out_bytes);
    }
}

/* Fours of pixels in row-major order, across line ends; what a last four has too many is computed
 * and dropped. */
void ql_conv2d_neon(const ql_conv2d_neon_layer *layer, const int8_t *in, int8_t *scratch, void *out)
{
    int32_t pixels = layer->window.out_height * layer->window.out_width;
    uint8_t *pixel = (uint8_t *)out;
    const int8_t *windows[QL_TILE_PIXELS] = {in, in, in, in};
    int32_t acc[QL_TILE_PIXELS * QL_TILE_ROWS];
    int32_t row = 0;
    int32_t column = 0;
    if (!layer->is_in_place) { /* what lies behind a patch meets weights of zero */
        (void)memset(scratch, 0, (size_t)(QL_TILE_PIXELS * layer->rows.runs.steps * 32));
    }
    for (int32_t done = 0; done < pixels; done += QL_TILE_PIXELS) {
        int32_t count = pixels - done < QL_TILE_PIXELS ? pixels - done : QL_TILE_PIXELS;
        find_windows(layer, in, scratch, &row, &column, count, windows);
        for (int32_t first = 0; first < layer->out_len; first += QL_TILE_ROWS) {
            int32_t left = layer->out_len - first;
            int32_t rows = left < QL_TILE_ROWS ? left : QL_TILE_ROWS;
            layer->tile(&layer->rows, first, rows, windows, acc);
            store(layer, first, rows, acc, count, pixel);
        }
        pixel += count * layer->out_len * layer->out_bytes;
    }
}
