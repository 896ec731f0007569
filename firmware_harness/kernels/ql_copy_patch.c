/* SPDX-License-Identifier: Apache-2.0 */
/* Window of an image, copied; contract: ql_patch.h. */
#include "ql_copy.h"
#include "ql_patch.h"

static void fill(uint8_t *out, int32_t elements, int32_t element_bytes, int32_t value)
{
    for (int32_t i = 0; i < elements; i++) {
        if (element_bytes == 1) {
            ((int8_t *)out)[i] = (int8_t)value;
        } else {
            ((int16_t *)(void *)out)[i] = (int16_t)value;
        }
    }
}

void ql_copy_patch(const ql_window *window, const uint8_t *in, int32_t row, int32_t column,
                   uint8_t *patch)
{
    int32_t pixel_bytes = window->in_channels * window->element_bytes;
    int32_t offset = ql_window_offset(window, row, column);
    if (offset >= 0) { /* nearly always: nothing is padded */
        const uint8_t *line = &in[offset * window->element_bytes];
        int32_t bytes = window->kernel_width * pixel_bytes;
        for (int32_t y = window->kernel_height; y > 0; y--) {
            ql_copy(patch, line, bytes);
            patch += bytes;
            line += window->in_width * pixel_bytes;
        }
        return;
    }
    int32_t top = row * window->stride_height - window->pad_top;
    int32_t left = column * window->stride_width - window->pad_left;
    int32_t before = left < 0 ? -left : 0; /* columns of the window left of the image */
    int32_t beyond = left + window->kernel_width - window->in_width;
    int32_t after = beyond > 0 ? beyond : 0;
    int32_t inside = window->kernel_width - before - after;
    if (inside < 0) { /* padding wider than the kernel */
        before = window->kernel_width;
        inside = 0;
        after = 0;
    }
    for (int32_t y = top; y < top + window->kernel_height; y++) {
        if (y < 0 || y >= window->in_height) {
            fill(patch, window->kernel_width * window->in_channels, window->element_bytes,
                 window->in_zero_point);
        } else {
            const uint8_t *line = &in[(y * window->in_width + left + before) * pixel_bytes];
            fill(patch, before * window->in_channels, window->element_bytes, window->in_zero_point);
            ql_copy(&patch[before * pixel_bytes], line, inside * pixel_bytes);
            fill(&patch[(before + inside) * pixel_bytes], after * window->in_channels,
                 window->element_bytes, window->in_zero_point);
        }
        patch += window->kernel_width * pixel_bytes;
    }
}
