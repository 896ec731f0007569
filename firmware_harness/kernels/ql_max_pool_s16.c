/* SPDX-License-Identifier: Apache-2.0 */
/* Max pooling of int16; contract: ql_kernels.h. */
#include "ql_kernels.h"
#include "ql_pool.h"

void ql_max_pool_s16(const ql_pool_layer *layer, const int16_t *in, int16_t *out)
{
    const ql_window *window = &layer->window;
    int32_t channels = window->in_channels;
    for (int32_t row = 0; row < window->out_height; row++) {
        for (int32_t column = 0; column < window->out_width; column++) {
            ql_area area = ql_area_under(window, row, column);
            for (int32_t channel = 0; channel < channels; channel++) {
                int32_t largest = layer->qmin;
                for (int32_t y = area.top; y < area.bottom; y++) {
                    const int16_t *line = &in[y * window->in_width * channels + channel];
                    for (int32_t x = area.left; x < area.right; x++) {
                        int32_t value = line[x * channels];
                        largest = value > largest ? value : largest;
                    }
                }
                *out = (int16_t)(largest > layer->qmax ? layer->qmax : largest);
                out++;
            }
        }
    }
}
