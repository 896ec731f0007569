/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution, patch by patch (decision 0001); contract: ql_kernels.h. */
/* needs: ql_copy_patch, ql_dense */
#include "ql_kernels.h"
#include "ql_patch.h"

/* Cross-correlation, pixel by pixel: the patch is copied first, so out may overlap input that no
 * later patch reads. in     int8 or int16 [in_height][in_width][in_channels] patch  scratch, in_len
 * elements of the input's type out    [out_height][out_width][out_len] */
void ql_conv2d(const ql_conv2d_layer *layer, const void *in, void *patch, void *out)
{
    const ql_window *window = &layer->window;
    uint8_t *pixel = (uint8_t *)out;
    for (int32_t row = 0; row < window->out_height; row++) {
        for (int32_t column = 0; column < window->out_width; column++) {
            ql_copy_patch(window, (const uint8_t *)in, row, column, (uint8_t *)patch);
            ql_dense(&layer->dense, patch, pixel);
            pixel += layer->dense.out_len * layer->out_bytes;
        }
    }
}
