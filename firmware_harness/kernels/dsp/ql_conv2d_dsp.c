/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution with SMLAD (decision 0001); contract: ql_kernels_dsp.h. */
/* needs: ql_copy_patch, ql_rows_dsp */
#include "ql_kernels_dsp.h"
#include "ql_patch.h"

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

/* Byte of the input where the window of a pixel begins; negative: it reaches beyond the image. */
static int32_t offset_of(const ql_window *window, pixel at)
{
    int32_t top = at.row * window->stride_height - window->pad_top;
    int32_t left = at.column * window->stride_width - window->pad_left;
    int32_t below = window->in_height - window->kernel_height - top;
    int32_t beyond = window->in_width - window->kernel_width - left;
    int32_t outside = top | left | below | beyond; /* negative if one of them is */
    int32_t offset = (top * window->in_width + left) * window->in_channels * window->element_bytes;
    return outside < 0 ? -1 : offset;
}

/* Spreads the windows of two pixels, where they lie if both lie within the image. */
static void spread(const ql_conv2d_dsp_layer *layer, const uint8_t *in, pixel first, pixel second,
                   int16_t *scratch)
{
    const ql_window *window = &layer->window;
    if (layer->lines.count != 0) {
        int32_t offsets[2] = {offset_of(window, first), offset_of(window, second)};
        if ((offsets[0] | offsets[1]) >= 0) {
            layer->spread(in + offsets[0], in + offsets[1], &layer->lines, scratch);
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
