/* SPDX-License-Identifier: Apache-2.0 */
/* The same numbers at another scale (decision 0001); contract: ql_kernels.h. */
/* needs: ql_mul */
#include "ql_kernels.h"

#include <stddef.h>

void ql_requantize(const ql_mul_layer *layer, const void *in, void *out)
{
    ql_mul(layer, in, NULL, out);
}
