/* SPDX-License-Identifier: Apache-2.0 */
/* Average pooling (decision 0007); contract: ql_kernels.h. */
#include "ql_kernels.h"
#include "ql_pool.h"
#include "ql_rescale.h"

void ql_average_pool_s8(const ql_pool_layer *layer, const int8_t *in, int8_t *out)
{
    const ql_window *window = &layer->window;
    int32_t channels = window->in_channels;
    for (int32_t row = 0; row < window->out_height; row++) {
        for (int32_t column = 0; column < window->out_width; column++) {
            ql_area area = ql_area_under(window, row, column);
            int32_t count = (area.bottom - area.top) * (area.right - area.left);
            for (int32_t channel = 0; channel < channels; channel++) {
                int32_t total = 0;
                for (int32_t y = area.top; y < area.bottom; y++) {
                    const int8_t *line = &in[y * window->in_width * channels + channel];
                    for (int32_t x = area.left; x < area.right; x++) {
                        total += line[x * channels];
                    }
                }
                total += total > 0 ? count / 2 : -(count / 2);
                *out = (int8_t)ql_clamp(total / count, layer->qmin, layer->qmax);
                out++;
            }
        }
    }
}
