/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels for Armv8-A with the dot product extension (Cortex-A76): SDOT makes sixteen int8 products
 * and adds them to four sums. Layouts are drawn in ql_kernels_neon.h. Results equal the portable
 * kernels' bit for bit. */
#ifndef QL_KERNELS_DOT_H
#define QL_KERNELS_DOT_H

#include "ql_kernels_neon.h"

/* in int8 [in_len]; out as layer->store writes */
void ql_dense_dot(const ql_dense_neon_layer *layer, const int8_t *in, void *out);

/* acc[row] = bias[row] + weights[row] * in. Writes rows up to the next multiple of 4. */
void ql_mac_dot(const int8_t *weights, const int32_t *bias, const int8_t *in, int32_t in_len,
                int32_t rows, int32_t *acc);
void ql_tile_dot(const ql_tile_rows *rows, int32_t first, int32_t count,
                 const int8_t *const *windows, int32_t *acc);

#endif
