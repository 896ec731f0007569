/* SPDX-License-Identifier: Apache-2.0 */
/* Two windows of int8 side by side in the order of SXTB16; contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

#if defined(__ARM_FEATURE_DSP)
/* A word of both windows takes seven instructions.
 *
 *   r0, r1   windows            r4   lines that are left   r7, lr    a word of each window
 *   r2       pairs of words     r5   words of a line       r8 - r11  the same, spread
 *   r3       out                r6   bytes from the end of a line to the next */
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_spread_lanes_s8, \"ax\", %progbits\n"
        ".global ql_spread_lanes_s8\n"
        ".type ql_spread_lanes_s8, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_spread_word\n"
        "    ldr r7, [r0], #4\n"
        "    ldr lr, [r1], #4\n"
        "    sxtb16 r8, r7\n"
        "    sxtb16 r9, lr\n"
        "    sxtb16 r10, r7, ror #8\n"
        "    sxtb16 r11, lr, ror #8\n"
        "    stmia r3!, {r8-r11}\n"
        ".endm\n"
        "ql_spread_lanes_s8:\n"
        "    push {r4-r11, lr}\n"
        "    ldm r2, {r4-r6}\n"
        "    subs r6, r6, r5\n"
        "    lsrs r5, r5, #2\n"
        "1:  lsrs r2, r5, #1\n"
        "    adc r2, r2, #0\n"
        "    bcs 3f\n" /* an odd word more: enter the loop in the middle */
        "2:  ql_spread_word\n"
        "3:  ql_spread_word\n"
        "    subs r2, r2, #1\n"
        "    bne 2b\n"
        "    add r0, r0, r6\n"
        "    add r1, r1, r6\n"
        "    subs r4, r4, #1\n"
        "    bne 1b\n"
        "    pop {r4-r11, pc}\n"
        ".purgem ql_spread_word\n"
        ".size ql_spread_lanes_s8, . - ql_spread_lanes_s8\n"
        ".text\n");
#elif defined(__arm__)
#error "quarl: SMLAD is off in this compiler; turn it on, or export for a board without it"
#else

void ql_spread_lanes_s8(const void *first, const void *second, const ql_lines *lines, int16_t *out)
{
    const int8_t *windows[2] = {(const int8_t *)first, (const int8_t *)second};
    for (int32_t line = 0; line < lines->count; line++) {
        for (int32_t i = 0; i < lines->bytes; i++) {
            int32_t at = ql_spread_index(line * lines->bytes + i, 2);
            out[at] = windows[0][line * lines->stride + i];
            out[at + 2] = windows[1][line * lines->stride + i];
        }
    }
}

#endif
