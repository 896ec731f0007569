/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution with SMLABB and SMLATT (decision 0001); contract: ql_kernels_dsp.h. */
/* needs: ql_taps_dsp */
#include "ql_kernels_dsp.h"
#include "ql_patch.h"

/* Where the taps of the window at line y, column x lie; those beyond the image lie at `padding`. */
static void place_taps(const ql_window *window, int32_t y, int32_t x, int32_t padding,
                       int32_t *taps)
{
    for (int32_t i = y; i < y + window->kernel_height; i++) {
        for (int32_t j = x; j < x + window->kernel_width; j++) {
            int32_t is_inside = i >= 0 && i < window->in_height && j >= 0 && j < window->in_width;
            *taps = is_inside ? (i * window->in_width + j) * window->in_channels : padding;
            taps++;
        }
    }
}

/* Taps are placed once for all windows within the image, from the window's own beginning, and anew
 * for each that reaches beyond it. */
void ql_depthwise_dsp(const ql_depthwise_dsp_layer *layer, const int8_t *in, int32_t *scratch,
                      void *out)
{
    const ql_window *window = &layer->window;
    int32_t count = window->kernel_height * window->kernel_width;
    int8_t *padding = (int8_t *)&scratch[count];
    uint8_t *pixel = (uint8_t *)out;
    int32_t was_inside = 0;
    int32_t acc[QL_CHUNK];
    for (int32_t i = 0; i < layer->padding_len; i++) {
        padding[i] = (int8_t)window->in_zero_point;
    }
    for (int32_t row = 0; row < window->out_height; row++) {
        for (int32_t column = 0; column < window->out_width; column++) {
            int32_t offset = ql_window_offset(window, row, column);
            const int8_t *base = offset < 0 ? in : &in[offset];
            if (offset < 0) {
                int32_t top = row * window->stride_height - window->pad_top;
                int32_t left = column * window->stride_width - window->pad_left;
                place_taps(window, top, left, (int32_t)(padding - in), scratch);
            } else if (!was_inside) {
                place_taps(window, 0, 0, 0, scratch);
            }
            was_inside = offset >= 0;
            const int8_t *weights = layer->weights;
            for (int32_t first = 0; first < window->in_channels; first += QL_CHUNK) {
                int32_t left = window->in_channels - first;
                int32_t channels = left < QL_CHUNK ? left : QL_CHUNK;
                weights = ql_taps_dsp(weights, scratch, count, &base[first], channels, acc);
                layer->store(&layer->requant, first, channels, acc, pixel);
            }
            pixel += layer->pixel_bytes;
        }
    }
}
