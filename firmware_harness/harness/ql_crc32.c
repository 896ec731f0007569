/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32 of frames; contract: ql_frame.h. */
#include "ql_frame.h"

uint32_t ql_crc32(uint32_t crc, const void *bytes, uint32_t count)
{
    const uint8_t *at = (const uint8_t *)bytes;
    crc = ~crc;
    while (count > 0U) {
        crc ^= *at;
        at++;
        count--;
        for (int32_t bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0xEDB88320U & (0U - (crc & 1U)));
        }
    }
    return ~crc;
}
