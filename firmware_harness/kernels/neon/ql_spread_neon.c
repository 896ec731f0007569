/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs in the order of ql_mac_neon; contract: ql_kernels_neon.h. */
#include "ql_kernels_neon.h"

#include <string.h>

#if defined(__aarch64__)
#include <arm_neon.h>

void ql_spread_neon(const int8_t *in, int32_t in_len, int8_t *out)
{
    static const uint8_t first[16] = {0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3};
    const uint8x16_t order = vld1q_u8(first);
    const uint8x16_t second = vaddq_u8(order, vdupq_n_u8(4));
    const uint8x16_t third = vaddq_u8(order, vdupq_n_u8(8));
    const uint8x16_t fourth = vaddq_u8(order, vdupq_n_u8(12));
#pragma GCC unroll 4
    for (; in_len >= 16; in_len -= 16) {
        int8x16_t x = vld1q_s8(in);
        int8x16x4_t four = {{vqtbl1q_s8(x, order), vqtbl1q_s8(x, second), vqtbl1q_s8(x, third),
                             vqtbl1q_s8(x, fourth)}};
        vst1q_s8_x4(out, four);
        in += 16;
        out += 64;
    }
    for (; in_len > 0; in_len -= 8) {
        int64_t words = 0;
        if (in_len >= 8) {
            (void)memcpy(&words, in, 8U);
        } else {
            (void)memcpy(&words, in, (size_t)in_len);
        }
        int8x16_t x = vreinterpretq_s8_s64(vdupq_n_s64(words));
        vst1q_s8(out, vqtbl1q_s8(x, order));
        vst1q_s8(out + 16, vqtbl1q_s8(x, second));
        in += 8;
        out += 32;
    }
}

#else

void ql_spread_neon(const int8_t *in, int32_t in_len, int8_t *out)
{
    for (int32_t at = 0; at < (in_len + 7) / 8 * 8; at += 4) {
        for (int32_t i = 0; i < 16; i++) {
            int32_t from = at + i / 8 * 2 + i % 2;
            *out = (int8_t)(from < in_len ? in[from] : 0);
            out++;
        }
    }
}

#endif
