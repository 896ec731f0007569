/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution with NEON (decision 0001); contract: ql_kernels_neon.h. */
#include "ql_kernels_neon.h"

#if defined(__aarch64__)
#include <arm_neon.h>

/* acc[i] += weights[i] * values[i], count up to QL_CHUNK; products of int8 fit int16. */
static void add_tap(const int8_t *weights, const int8_t *values, int32_t count, int32_t *acc)
{
    int32_t i = 0;
    for (; i + 8 <= count; i += 8) {
        int16x8_t products = vmull_s8(vld1_s8(&weights[i]), vld1_s8(&values[i]));
        vst1q_s32(&acc[i], vaddw_s16(vld1q_s32(&acc[i]), vget_low_s16(products)));
        vst1q_s32(&acc[i + 4], vaddw_high_s16(vld1q_s32(&acc[i + 4]), products));
    }
    for (; i < count; i++) {
        acc[i] += weights[i] * values[i];
    }
}

#else

static void add_tap(const int8_t *weights, const int8_t *values, int32_t count, int32_t *acc)
{
    for (int32_t i = 0; i < count; i++) {
        acc[i] += weights[i] * values[i];
    }
}

#endif

/* acc = bias + filters over the window whose top left corner is (top, left), for channels from
 * `first`. */
static void filter(const ql_depthwise_layer *layer, const int8_t *in, int32_t top, int32_t left,
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
                add_tap(weights, &in[(y * window->in_width + x) * window->in_channels + first],
                        count, acc);
            } else {
                for (int32_t i = 0; i < count; i++) {
                    acc[i] += weights[i] * window->in_zero_point;
                }
            }
            weights += window->in_channels;
        }
    }
}

void ql_depthwise_neon(const ql_depthwise_layer *layer, const int8_t *in, void *out)
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
