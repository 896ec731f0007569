/* SPDX-License-Identifier: Apache-2.0 */
/* Four packed rows by one lane with SMLAD (decision 0009); contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

#if defined(__ARM_FEATURE_DSP)
/* A step, sixteen multiply-accumulates, takes 14 instructions and 20 cycles of an M4. Four steps
 * are unrolled; where their number is no multiple of four, the first round begins in the middle.
 *
 *   r0  weights     r2 - r5  weights of a step    r8, r9    S and B of rows a, b
 *   r1  in          r6, r7   inputs of a step     r10, r11  S and B of rows c, d
 *   lr  acc         r12      rounds that are left
 *   sp  in, rounds, entry, end of acc, biases of a and c */
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_mac_dsp, \"ax\", %progbits\n"
        ".global ql_mac_dsp\n"
        ".type ql_mac_dsp, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_mac_step\n" /* 52 bytes: both loads are narrow */
        "    ldmia r1!, {r6, r7}\n"
        "    ldmia r0!, {r2-r5}\n"
        "    smlad r8, r2, r6, r8\n"
        "    sxtb16 r2, r2\n"
        "    smlad r10, r3, r6, r10\n"
        "    sxtb16 r3, r3\n"
        "    smlad r9, r2, r6, r9\n"
        "    smlad r11, r3, r6, r11\n"
        "    smlad r8, r4, r7, r8\n"
        "    sxtb16 r4, r4\n"
        "    smlad r10, r5, r7, r10\n"
        "    sxtb16 r5, r5\n"
        "    smlad r9, r4, r7, r9\n"
        "    smlad r11, r5, r7, r11\n"
        ".endm\n"
        "ql_mac_dsp:\n"
        "    push {r4-r11, lr}\n"
        "    ldr lr, [sp, #36]\n"
        "    adds r4, r2, #3\n"
        "    lsrs r4, r4, #2\n"
        "    rsb r5, r2, r4, lsl #2\n" /* steps that the first round leaves out */
        "    adr r6, 2f\n"
        "    movs r7, #52\n"
        "    mla r6, r5, r7, r6\n"
        "    adds r6, #1\n"
        "    add r7, lr, r3, lsl #4\n"
        "    sub sp, sp, #8\n"
        "    push {r1, r4, r6, r7}\n"
        "1:  ldmia.w r0!, {r8-r11}\n"
        "    strd r8, r10, [sp, #16]\n"
        "    mov r8, r9\n"
        "    mov r10, r11\n"
        "    ldmia.w sp, {r1, r12, pc}\n"
        ".balign 4\n"
        "2:  ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    subs r12, r12, #1\n"
        "    bne 2b\n"
        "    ldrd r2, r3, [sp, #16]\n"
        "    sub r8, r8, r9\n"
        "    sub r10, r10, r11\n"
        "    add r8, r2, r8, asr #8\n"
        "    add r10, r3, r10, asr #8\n"
        "    stmia lr!, {r8-r11}\n"
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
