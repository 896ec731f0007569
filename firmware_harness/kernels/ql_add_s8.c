#include "ql_kernels.h"
#include "ql_rescale.h"

/* out[i] = clamp(a[i] + b[i] - zero_point), three tensors of one scale and zero point; out may be a or b. */
void ql_add_s8(const ql_range *range, int32_t count, const int8_t *a, const int8_t *b, int8_t *out)
{
    for (int32_t i = 0; i < count; i++) {
        out[i] = (int8_t)ql_clamp(a[i] + b[i] - range->zero_point, range->qmin, range->qmax);
    }
}
