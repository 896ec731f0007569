/* SPDX-License-Identifier: Apache-2.0 */
/* Four packed rows by one lane with SMLAD (decision 0009); contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

#if defined(__ARM_FEATURE_DSP)
/* A step, sixteen multiply-accumulates, takes 14 instructions and 20 cycles of an M4. Four steps
 * are unrolled; where their number is no multiple of four, the first round begins in the middle.
 *
 *   r0  weights          r6, r7  S and B of rows a, b     r12  rounds that are left
 *   r1  in               r8, r9  S and B of rows c, d     lr   acc
 *   r2 - r5  weights of a step    r10, r11  inputs of a step
 *   sp  in, rounds, entry, end of acc, biases of a and c */
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_mac_dsp, \"ax\", %progbits\n"
        ".global ql_mac_dsp\n"
        ".type ql_mac_dsp, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_mac_step\n" /* 56 bytes */
        "    ldmia.w r1!, {r10, r11}\n"
        "    ldmia.w r0!, {r2-r5}\n"
        "    smlad r6, r2, r10, r6\n"
        "    sxtb16 r2, r2\n"
        "    smlad r8, r3, r10, r8\n"
        "    sxtb16 r3, r3\n"
        "    smlad r7, r2, r10, r7\n"
        "    smlad r9, r3, r10, r9\n"
        "    smlad r6, r4, r11, r6\n"
        "    sxtb16 r4, r4\n"
        "    smlad r8, r5, r11, r8\n"
        "    sxtb16 r5, r5\n"
        "    smlad r7, r4, r11, r7\n"
        "    smlad r9, r5, r11, r9\n"
        ".endm\n"
        "ql_mac_dsp:\n"
        "    push {r4-r11, lr}\n"
        "    ldr lr, [sp, #36]\n"
        "    adds r4, r2, #3\n"
        "    lsrs r4, r4, #2\n"
        "    rsb r5, r2, r4, lsl #2\n" /* steps that the first round leaves out */
        "    adr r6, 2f\n"
        "    add r6, r6, r5, lsl #6\n"
        "    sub r6, r6, r5, lsl #3\n"
        "    orr r6, r6, #1\n"
        "    add r7, lr, r3, lsl #4\n"
        "    sub sp, sp, #8\n"
        "    push {r1, r4, r6, r7}\n"
        "1:  ldrd r1, r12, [sp]\n"
        "    ldmia.w r0!, {r4, r7, r8, r9}\n"
        "    strd r4, r8, [sp, #16]\n"
        "    mov r6, r7\n"
        "    mov r8, r9\n"
        "    ldr pc, [sp, #8]\n"
        ".balign 4\n"
        "2:  ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    subs r12, r12, #1\n"
        "    bne 2b\n"
        "    ldrd r2, r3, [sp, #16]\n"
        "    subs r6, r6, r7\n"
        "    sub r8, r8, r9\n"
        "    add r6, r2, r6, asr #8\n"
        "    add r8, r3, r8, asr #8\n"
        "    stmia lr!, {r6-r9}\n"
        "    ldr r2, [sp, #12]\n"
        "    cmp lr, r2\n"
        "    bne 1b\n"
        "    add sp, sp, #24\n"
        "    pop {r4-r11, pc}\n"
        ".purgem ql_mac_step\n"
        ".size ql_mac_dsp, . - ql_mac_dsp\n"
        ".text\n");
#elif defined(__arm__)
#error "quarl: SMLAD is off in this compiler; turn it on, or export for a board without it"
#else

const int16_t *ql_mac_dsp(const int16_t *weights, const int16_t *in, int32_t steps, int32_t groups,
                          int32_t *acc)
{
    for (int32_t group = 0; group < groups; group++) {
        weights = ql_take_bias(weights, acc);
        for (int32_t i = 0; i < QL_STEP * steps; i++) { /* in spread order */
            for (int32_t pair = 0; pair < 2; pair++) {
                int32_t packed = weights[i / 2 * 4 + pair * 2 + i % 2];
                int32_t low = (int8_t)(packed & 0xFF);
                acc[2 * pair] += (packed - low) / 256 * in[i];
                acc[2 * pair + 1] += low * in[i];
            }
        }
        weights += 2 * QL_STEP * steps;
        acc += QL_GROUP;
    }
    return weights;
}

#endif
