#include "ql_kernels.h"

/* One filter per channel.
 *   in   int8 or int16 [in_height][in_width][in_channels], by window.element_bytes
 *   out  [out_height][out_width][in_channels]; must not overlap */
void ql_depthwise(const ql_depthwise_layer *layer, const void *in, void *out)
{
    const ql_window *window = &layer->window;
    int32_t channels = window->in_channels;
    int32_t acc[QL_CHUNK];
    uint8_t *pixel = (uint8_t *)out;
    for (int32_t position = 0; position < window->out_height * window->out_width; position++) {
        int32_t top = position / window->out_width * window->stride_height - window->pad_top;
        int32_t left = position % window->out_width * window->stride_width - window->pad_left;
        for (int32_t first = 0; first < channels; first += QL_CHUNK) {
            int32_t count = channels - first < QL_CHUNK ? channels - first : QL_CHUNK;
            for (int32_t i = 0; i < count; i++) {
                acc[i] = layer->bias[first + i];
            }
            for (int32_t tap = 0; tap < window->kernel_height * window->kernel_width; tap++) {
                int32_t y = top + tap / window->kernel_width;
                int32_t x = left + tap % window->kernel_width;
                const int8_t *weights = &layer->weights[tap * channels + first];
                int32_t offset = (y * window->in_width + x) * channels + first;
                if (y < 0 || y >= window->in_height || x < 0 || x >= window->in_width) {
                    for (int32_t i = 0; i < count; i++) {
                        acc[i] += weights[i] * window->in_zero_point;
                    }
                } else if (window->element_bytes == 1) {
                    for (int32_t i = 0; i < count; i++) {
                        acc[i] += weights[i] * ((const int8_t *)in)[offset + i];
                    }
                } else {
                    for (int32_t i = 0; i < count; i++) {
                        acc[i] += weights[i] * ((const int16_t *)in)[offset + i];
                    }
                }
            }
            layer->store(&layer->range, first, count, acc, pixel);
        }
        pixel += channels * layer->out_bytes;
    }
}
