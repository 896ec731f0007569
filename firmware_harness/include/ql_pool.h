/* SPDX-License-Identifier: Apache-2.0 */
/* Windows of a pooling: what of them lies on the image. */
#ifndef QL_POOL_H
#define QL_POOL_H

#include "ql_kernels.h"

typedef struct {
    int32_t top;
    int32_t bottom; /* first row below */
    int32_t left;
    int32_t right; /* first column beyond */
} ql_area;

static inline ql_area ql_area_under(const ql_window *window, int32_t row, int32_t column)
{
    ql_area area;
    area.top = row * window->stride_height - window->pad_top;
    area.left = column * window->stride_width - window->pad_left;
    area.bottom = area.top + window->kernel_height;
    area.right = area.left + window->kernel_width;
    area.top = area.top < 0 ? 0 : area.top;
    area.left = area.left < 0 ? 0 : area.left;
    area.bottom = area.bottom > window->in_height ? window->in_height : area.bottom;
    area.right = area.right > window->in_width ? window->in_width : area.right;
    return area;
}

#endif
