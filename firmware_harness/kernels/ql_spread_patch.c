/* SPDX-License-Identifier: Apache-2.0 */
/* Window of an image in the order of SMLAD; contract: ql_kernels_dsp.h. */
/* needs: ql_spread_fill */
#include "ql_kernels_dsp.h"

void ql_spread_patch(const ql_conv2d_dsp_layer *layer, const void *in, int32_t row, int32_t column,
                     int16_t *out)
{
    const ql_window *window = &layer->window;
    int32_t channels = window->in_channels;
    int32_t top = row * window->stride_height - window->pad_top;
    int32_t left = column * window->stride_width - window->pad_left;
    int32_t begin = left < 0 ? 0 : left;
    int32_t end = left + window->kernel_width < window->in_width ? left + window->kernel_width
                                                                 : window->in_width;
    int32_t inside = end > begin ? (end - begin) * channels
                                 : 0; /* elements of a line of the window within the image */
    int32_t before = inside > 0 ? (begin - left) * channels : 0;
    int32_t line = window->kernel_width * channels;
    int32_t at = 0;
    for (int32_t y = top; y < top + window->kernel_height; y++) {
        if (y < 0 || y >= window->in_height || inside < line) {
            ql_spread_fill(window->in_zero_point, line, at, 2, out);
        }
        if (y >= 0 && y < window->in_height && inside > 0) {
            int32_t offset = (y * window->in_width + begin) * channels * window->element_bytes;
            layer->dense.spread((const uint8_t *)in + offset, inside, at + before, 2, out);
        }
        at += line;
    }
}
