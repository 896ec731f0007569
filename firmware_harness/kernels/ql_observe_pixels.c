#include "ql_kernels.h"

/* Bytes become int8 by p XOR 0x80: scale 1/255, zero point -128, no arithmetic.
 *   pixels  uint8 [planes][plane_len]; planes is 1 where channels come last already
 *   out     int8 [plane_len][planes]; may be pixels if planes is 1 */
void ql_observe_pixels(const uint8_t *pixels, int32_t planes, int32_t plane_len, int8_t *out)
{
    for (int32_t plane = 0; plane < planes; plane++) {
        for (int32_t i = 0; i < plane_len; i++) {
            out[i * planes + plane] = (int8_t)(*pixels - 128);
            pixels++;
        }
    }
}
