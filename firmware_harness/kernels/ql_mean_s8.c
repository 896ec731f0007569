/* SPDX-License-Identifier: Apache-2.0 */
/* Mean over height and width (decision 0007); contract: ql_kernels.h. */
#include "ql_observe.h"

void ql_mean_s8(const ql_mean_layer *layer, const int8_t *in, int8_t *out)
{
    for (int32_t channel = 0; channel < layer->channels; channel++) {
        int32_t acc = -layer->pixels * layer->in_zero_point;
        for (int32_t pixel = 0; pixel < layer->pixels; pixel++) {
            acc += in[pixel * layer->channels + channel];
        }
        float product = (float)acc * layer->multiplier;
        float moved = product + (float)layer->zero_point;
        out[channel] = (int8_t)ql_round_clamped(moved, layer->qmin, layer->qmax);
    }
}
