/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution with SMLAD (decision 0001); contract: ql_kernels_dsp.h. */
/* needs: ql_spread_patch */
#include "ql_kernels_dsp.h"

/* Pairs of pixels in row-major order, across line ends; the second lane of an odd last pixel is
 * computed and dropped. */
void ql_conv2d_dsp(const ql_conv2d_dsp_layer *layer, const void *in, int16_t *scratch, void *out)
{
    const ql_dense_dsp_layer *dense = &layer->dense;
    const ql_window *window = &layer->window;
    int32_t pixels = window->out_height * window->out_width;
    int32_t pixel_bytes = dense->out_len * layer->out_bytes;
    uint8_t *pixel = (uint8_t *)out;
    int32_t acc[2 * QL_CHUNK];
    int32_t row = 0;
    int32_t column = 0;
    for (int32_t done = 0; done < pixels; done += 2) {
        int32_t lanes = pixels - done < 2 ? 1 : 2;
        for (int32_t lane = 0; lane < lanes; lane++) {
            ql_spread_patch(layer, in, row, column, &scratch[2 * lane]);
            column++;
            if (column == window->out_width) {
                column = 0;
                row++;
            }
        }
        const int8_t *weights = dense->weights;
        for (int32_t first = 0; first < dense->out_len; first += QL_CHUNK) {
            int32_t left = dense->out_len - first;
            int32_t rows = left < QL_CHUNK ? left : QL_CHUNK;
            weights = dense->mac(weights, &dense->bias[first], scratch, dense->padded_len / QL_STEP,
                                 (rows + 1) / 2, acc);
            for (int32_t lane = 0; lane < lanes; lane++) {
                dense->store(&dense->requant, first, rows, &acc[lane * QL_CHUNK],
                             pixel + lane * pixel_bytes);
            }
        }
        pixel += lanes * pixel_bytes;
    }
}
