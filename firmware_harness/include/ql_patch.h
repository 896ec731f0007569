/* SPDX-License-Identifier: Apache-2.0 */
/* Patches of an image, as convolutions read them. */
#ifndef QL_PATCH_H
#define QL_PATCH_H

#include "ql_kernels.h"

/* Copies the window of one output pixel to patch [kernel_height][kernel_width][in_channels];
 * outside the image stands the zero point. */
void ql_copy_patch(const ql_window *window, const uint8_t *in, int32_t row, int32_t column,
                   uint8_t *patch);

#endif
