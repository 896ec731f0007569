/* SPDX-License-Identifier: Apache-2.0 */
/* Patches of an image, as convolutions read them. */
#ifndef QL_PATCH_H
#define QL_PATCH_H

#include "ql_kernels.h"

/* Copies the window of one output pixel to patch [kernel_height][kernel_width][in_channels];
 * outside the image stands the zero point. */
void ql_copy_patch(const ql_window *window, const uint8_t *in, int32_t row, int32_t column,
                   uint8_t *patch);

/* The element of the image at which the window of a pixel begins; -1: it reaches beyond the image.
 */
static inline int32_t ql_window_offset(const ql_window *window, int32_t row, int32_t column)
{
    int32_t top = row * window->stride_height - window->pad_top;
    int32_t left = column * window->stride_width - window->pad_left;
    int32_t below = window->in_height - window->kernel_height - top;
    int32_t beyond = window->in_width - window->kernel_width - left;
    int32_t outside = top | left | below | beyond; /* negative if one of them is */
    return outside < 0 ? -1 : (top * window->in_width + left) * window->in_channels;
}

#endif
