#include "ql_kernels_dsp.h"

/* As ql_spread_s16, of one value. */
void ql_spread_fill(int32_t value, int32_t count, int32_t at, int32_t lanes, int16_t *out)
{
    for (int32_t i = 0; i < count; i++) {
        out[ql_spread_index(at + i, lanes)] = (int16_t)value;
    }
}
