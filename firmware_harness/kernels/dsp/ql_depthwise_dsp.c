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
        int32_t at = (i * window->in_width + x) * window->in_channels;
        uint32_t width =
            (uint32_t)i < (uint32_t)window->in_height ? (uint32_t)window->in_width : 0U;
        for (int32_t j = x; j < x + window->kernel_width; j++) {
            *taps = (uint32_t)j < width ? at : padding;
            taps++;
            at += window->in_channels;
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
    int8_t *padding = (int8_t *)&scratch[2 * count];
    uint8_t *pixel = (uint8_t *)out;
    int32_t acc[QL_CHUNK];
    for (int32_t i = 0; i < layer->padding_len; i++) {
        padding[i] = (int8_t)window->in_zero_point;
    }
    place_taps(window, 0, 0, 0, scratch);
    for (int32_t row = 0; row < window->out_height; row++) {
        for (int32_t column = 0; column < window->out_width; column++) {
            int32_t offset = ql_window_offset(window, row, column);
            const int8_t *base = offset < 0 ? in : &in[offset];
            const int32_t *taps = scratch;
            if (offset < 0) {
                taps = &scratch[count];
                place_taps(window, row * window->stride_height - window->pad_top,
                           column * window->stride_width - window->pad_left,
                           (int32_t)(padding - in), &scratch[count]);
            }
            const int8_t *weights = layer->weights;
            for (int32_t first = 0; first < window->in_channels; first += QL_CHUNK) {
                int32_t left = window->in_channels - first;
                int32_t channels = left < QL_CHUNK ? left : QL_CHUNK;
                weights = ql_taps_dsp(weights, taps, count, &base[first], channels, acc);
                layer->store(&layer->requant, first, channels, acc, pixel);
            }
            pixel += layer->pixel_bytes;
        }
    }
}
