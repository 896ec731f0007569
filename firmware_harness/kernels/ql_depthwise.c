/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution (decision 0001); contract: ql_kernels.h. */
#include "ql_kernels.h"

/* Adds one tap of the filters: acc[i] += weights[i] * in[i], where the input's elements are int8 or
 * int16. */
static void add_tap(const int8_t *weights, const void *in, int32_t offset, int32_t element_bytes,
                    int32_t count, int32_t *acc)
{
    if (element_bytes == 1) {
        const int8_t *values = (const int8_t *)in + offset;
        for (int32_t i = 0; i < count; i++) {
            acc[i] += weights[i] * values[i];
        }
    } else {
        const int16_t *values = (const int16_t *)in + offset;
        for (int32_t i = 0; i < count; i++) {
            acc[i] += weights[i] * values[i];
        }
    }
}

/* acc = bias + filters over the window whose top left corner is (top, left), for channels from
 * `first`. */
static void filter(const ql_depthwise_layer *layer, const void *in, int32_t top, int32_t left,
                   int32_t first, int32_t count, int32_t *acc)
{
    const ql_window *window = &layer->window;
    const int8_t *weights = &layer->weights[first];
    for (int32_t i = 0; i < count; i++) {
        acc[i] = layer->bias[first + i];
    }
    for (int32_t y = top; y < top + window->kernel_height; y++) {
        for (int32_t x = left; x < left + window->kernel_width; x++) {
            if (y >= 0 && y < window->in_height && x >= 0 && x < window->in_width) {
                int32_t offset = (y * window->in_width + x) * window->in_channels + first;
                add_tap(weights, in, offset, window->element_bytes, count, acc);
            } else {
                for (int32_t i = 0; i < count; i++) {
                    acc[i] += weights[i] * window->in_zero_point;
                }
            }
            weights += window->in_channels;
        }
    }
}

void ql_depthwise(const ql_depthwise_layer *layer, const void *in, void *out)
{
    const ql_window *window = &layer->window;
    int32_t acc[QL_CHUNK];
    uint8_t *pixel = (uint8_t *)out;
    for (int32_t row = 0; row < window->out_height; row++) {
        for (int32_t column = 0; column < window->out_width; column++) {
            int32_t top = row * window->stride_height - window->pad_top;
            int32_t left = column * window->stride_width - window->pad_left;
            for (int32_t first = 0; first < window->in_channels; first += QL_CHUNK) {
                int32_t rest = window->in_channels - first;
                int32_t count = rest < QL_CHUNK ? rest : QL_CHUNK;
                filter(layer, in, top, left, first, count, acc);
                layer->store(&layer->requant, first, count, acc, pixel);
            }
            pixel += window->in_channels * layer->out_bytes;
        }
    }
}
