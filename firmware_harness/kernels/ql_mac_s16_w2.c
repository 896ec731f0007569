/* SPDX-License-Identifier: Apache-2.0 */
/* Four rows of 2-bit weights share each int16 input (decision 0001); contract: ql_kernels.h. */
#define QL_NAME ql_mac_s16_w2
#define QL_NAME_TEXT "ql_mac_s16_w2"
#define QL_BITS 2
#define QL_ELEMENT int16_t
#define QL_LOAD "ldrsh"
#define QL_LOG2_BYTES "1"
#include "ql_mac_rows.h"
