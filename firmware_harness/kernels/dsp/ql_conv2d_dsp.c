/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution with SMLAD (decision 0001); contract: ql_kernels_dsp.h. */
/* needs: ql_copy_patch */
#include "ql_kernels_dsp.h"
#include "ql_patch.h"
#include "ql_rows.h"

/* Pixels in row-major order, across line ends. */
typedef struct {
    int32_t row;
    int32_t column;
} pixel;

static pixel after(const ql_window *window, pixel at)
{
    at.column++;
    if (at.column == window->out_width) {
        at.column = 0;
        at.row++;
    }
    return at;
}

/* Spreads the windows of two pixels, where they lie if both lie within the image. */
static void spread(const ql_conv2d_dsp_layer *layer, const uint8_t *in, pixel first, pixel second,
                   int16_t *scratch)
{
    const ql_window *window = &layer->window;
    if (layer->lines.count != 0) {
        int32_t one = ql_window_offset(window, first.row, first.column);
        int32_t two = ql_window_offset(window, second.row, second.column);
        if ((one | two) >= 0) { /* int8: elements are bytes */
            layer->spread(in + one, in + two, &layer->lines, scratch);
            return;
        }
    }
    uint8_t *patch = (uint8_t *)&scratch[layer->patch_offset];
    uint8_t *next = patch + layer->patch.bytes;
    ql_copy_patch(window, in, first.row, first.column, patch);
    ql_copy_patch(window, in, second.row, second.column, next);
    layer->spread(patch, next, &layer->patch, scratch);
}

/* Pairs of pixels; an odd last one is computed twice and kept once. */
void ql_conv2d_dsp(const ql_conv2d_dsp_layer *layer, const void *in, int16_t *scratch, void *out)
{
    const ql_window *window = &layer->window;
    int32_t pixels = window->out_height * window->out_width;
    uint8_t *results = (uint8_t *)out;
    int32_t acc[2 * QL_LANE];
    pixel first = {0, 0};
    for (int32_t left = pixels; left > 0; left -= 2) {
        int32_t is_last = left == 1;
        pixel second = is_last ? first : after(window, first);
        spread(layer, (const uint8_t *)in, first, second, scratch);
        int32_t lane_bytes = is_last ? 0 : layer->pixel_bytes;
        ql_rows_dsp(&layer->rows, scratch, 2, acc, lane_bytes, results);
        first = after(window, second);
        results += 2 * layer->pixel_bytes;
    }
}
