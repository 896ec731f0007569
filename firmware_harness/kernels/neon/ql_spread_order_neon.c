/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs in the order of ql_mac_neon, reordered; contract: ql_kernels_neon.h. */
#include "ql_kernels_neon.h"

#include <string.h>

#if defined(__aarch64__)
#include <arm_neon.h>

/* Sixteen inputs of a window: each four k0 k1 k2 k3 become k0 k1 four times, then k2 k3. */
static inline void spread_sixteen(int8x16_t x, int8_t *out)
{
    static const uint8_t pairs[16] = {0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3};
    const uint8x16_t first = vld1q_u8(pairs);
    int8x16x4_t four = {{vqtbl1q_s8(x, first), vqtbl1q_s8(x, vaddq_u8(first, vdupq_n_u8(4))),
                         vqtbl1q_s8(x, vaddq_u8(first, vdupq_n_u8(8))),
                         vqtbl1q_s8(x, vaddq_u8(first, vdupq_n_u8(12)))}};
    vst1q_s8_x4(out, four);
}

static int8_t *spread_window(const int8_t *window, const int8_t *places, int32_t count, int8_t *out)
{
    int8x16x4_t x = vld1q_s8_x4(window);
    if (count == QL_ORDER_WINDOW) { /* nearly always */
#pragma GCC unroll 4
        for (int32_t at = 0; at < QL_ORDER_WINDOW; at += 16) {
            spread_sixteen(vqtbl4q_s8(x, vreinterpretq_u8_s8(vld1q_s8(&places[at]))), &out[4 * at]);
        }
        return &out[4 * QL_ORDER_WINDOW];
    }
    for (; count >= 16; count -= 16) {
        spread_sixteen(vqtbl4q_s8(x, vreinterpretq_u8_s8(vld1q_s8(places))), out);
        places += 16;
        out += 64;
    }
    if (count > 0) { /* eight more */
        int8_t last[64];
        spread_sixteen(vqtbl4q_s8(x, vreinterpretq_u8_s8(vld1q_s8(places))), last);
        (void)memcpy(out, last, 32U);
        out += 32;
    }
    return out;
}

#else

static int8_t *spread_window(const int8_t *window, const int8_t *places, int32_t count, int8_t *out)
{
    for (int32_t at = 0; at < count; at += 4) {
        for (int32_t i = 0; i < 16; i++) {
            *out = window[places[at + i / 8 * 2 + i % 2]];
            out++;
        }
    }
    return out;
}

#endif

void ql_spread_order_neon(const int8_t *places, const int16_t *windows, const int8_t *in,
                          int32_t in_len, int8_t *out)
{
    int8_t last[QL_ORDER_WINDOW] = {0};
    int32_t count = (in_len + QL_ORDER_WINDOW - 1) / QL_ORDER_WINDOW;
    for (int32_t w = 0; w < count; w++) {
        const int8_t *window = &in[windows[w] * QL_ORDER_WINDOW];
        int32_t left = in_len - windows[w] * QL_ORDER_WINDOW;
        if (left < QL_ORDER_WINDOW) {
            (void)memcpy(last, window, (size_t)left);
            window = last;
        }
        left = left < QL_ORDER_WINDOW ? (left + 7) / 8 * 8 : QL_ORDER_WINDOW;
        out = spread_window(window, &places[w * QL_ORDER_WINDOW], left, out);
    }
}
