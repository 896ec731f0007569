/* SPDX-License-Identifier: Apache-2.0 */
/* Two rows of 4-bit weights by one lane with SMLAD (decision 0001); contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

/* Sixteen multiply-accumulates (eight inputs, two rows) take 20 instructions. */
#if defined(__ARM_FEATURE_DSP)
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_mac_w4_dsp, \"ax\", %progbits\n"
        ".global ql_mac_w4_dsp\n"
        ".type ql_mac_w4_dsp, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        "ql_mac_w4_dsp:\n"
        "    push {r4-r11, lr}\n"
        "    push {r1-r3}\n" /* sp: bias, in, steps; 48: pairs, 52: acc */
        "    mov r11, #0xF0F0F0F0\n"
        "1:  ldr r5, [sp]\n"
        "    ldr r1, [sp, #4]\n"
        "    ldr r2, [sp, #8]\n"
        "    ldmia r5!, {r3, r4}\n"
        "    str r5, [sp]\n"
        "    add r3, r4, r3, lsl #4\n"
        "    lsl r4, r4, #4\n"
        "    lsrs r2, r2, #1\n"
        "    adc r2, r2, #0\n"
        "    bcs 3f\n" /* an odd step more: enter the loop in the middle */
        ".macro ql_mac_w4_dsp_step\n"
        "    ldmia r0!, {r5, r6}\n"
        "    ldmia r1!, {r7-r10}\n"
        "    and r12, r11, r5, lsl #4\n"
        "    sxtb16 lr, r5\n"
        "    smlad r3, lr, r7, r3\n"
        "    sxtb16 lr, r12\n"
        "    smlad r4, lr, r7, r4\n"
        "    sxtb16 r5, r5, ror #8\n"
        "    smlad r3, r5, r8, r3\n"
        "    sxtb16 r12, r12, ror #8\n"
        "    smlad r4, r12, r8, r4\n"
        "    and r12, r11, r6, lsl #4\n"
        "    sxtb16 lr, r6\n"
        "    smlad r3, lr, r9, r3\n"
        "    sxtb16 lr, r12\n"
        "    smlad r4, lr, r9, r4\n"
        "    sxtb16 r6, r6, ror #8\n"
        "    smlad r3, r6, r10, r3\n"
        "    sxtb16 r12, r12, ror #8\n"
        "    smlad r4, r12, r10, r4\n"
        ".endm\n"
        "2:  ql_mac_w4_dsp_step\n"
        "3:  ql_mac_w4_dsp_step\n"
        "    subs r2, r2, #1\n"
        "    bne 2b\n"
        "    ldr r1, [sp, #52]\n"
        "    ldr r2, [sp, #48]\n"
        "    asr r4, r4, #4\n"
        "    sub r3, r3, r4\n"
        "    asr r3, r3, #4\n"
        "    stmia r1!, {r3, r4}\n"
        "    str r1, [sp, #52]\n"
        "    subs r2, r2, #1\n"
        "    str r2, [sp, #48]\n"
        "    bne 1b\n"
        "    add sp, sp, #12\n"
        "    pop {r4-r11, pc}\n"
        ".purgem ql_mac_w4_dsp_step\n"
        ".size ql_mac_w4_dsp, . - ql_mac_w4_dsp\n"
        ".text\n");
#elif defined(__arm__)
#error "quarl: SMLAD is off in this compiler; turn it on, or export for a board without it"
#else
const int8_t *ql_mac_w4_dsp(const int8_t *weights, const int32_t *bias, const int16_t *in,
                            int32_t steps, int32_t pairs, int32_t *acc)
{
    for (int32_t row = 0; row < 2 * pairs; row += 2) {
        int32_t both = 16 * bias[row] + bias[row + 1];
        int32_t second = 16 * bias[row + 1];
        for (int32_t position = 0; position < QL_STEP * steps; position++) {
            int32_t value = in[ql_spread_index(position, 1)];
            both += weights[position] * value;
            second += (int8_t)((uint32_t)weights[position] << 4) * value;
        }
        acc[row + 1] = second / 16;
        acc[row] = (both - acc[row + 1]) / 16;
        weights += QL_STEP * steps;
    }
    return weights;
}
#endif
