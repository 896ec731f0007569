#include "ql_kernels.h"

/* out[i] = scale * (values[i] - zero_point): what the integers mean. */
void ql_real_s16(const int16_t *values, float scale, int32_t zero_point, int32_t count, float *out)
{
    for (int32_t i = 0; i < count; i++) {
        out[i] = (float)(values[i] - zero_point) * scale;
    }
}
