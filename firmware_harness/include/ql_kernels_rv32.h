/* SPDX-License-Identifier: Apache-2.0 */
/* Inner loops for RISC-V cores of 32 bits, which have registers for four rows at once.
 *
 * Weights and biases stand as the portable kernels read them. Results equal the portable kernels'
 * bit for bit. Without RISC-V it is plain C.
 */
#ifndef QL_KERNELS_RV32_H
#define QL_KERNELS_RV32_H

#include "ql_kernels.h"

const int8_t *ql_mac_s8_rv32(const int8_t *weights, const int32_t *bias, const void *in,
                             int32_t in_len, int32_t rows, int32_t *acc);

#endif
