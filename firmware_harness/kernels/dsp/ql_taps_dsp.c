/* SPDX-License-Identifier: Apache-2.0 */
/* Four channels of a depthwise window at a time (decision 0001); contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

#if defined(__ARM_FEATURE_DSP)
/* Two taps of four channels, eight multiply-accumulates, take 20 instructions; four are a round.
 *
 *   r0  weights     r2, r3  offsets, then inputs of two taps     r4 - r7   sums
 *   r1  taps        r8      in, at the four channels             r10, r11  weights of two taps
 *   sp  taps,       r9      fours of taps that are left          r12, lr   both, unpacked
 *       count, end of in, acc */
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_taps_dsp, \"ax\", %progbits\n"
        ".global ql_taps_dsp\n"
        ".type ql_taps_dsp, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_tap in, weights\n"
        "    sxtb16 r12, \\in\n"
        "    sxtb16 lr, \\weights\n"
        "    smlabb r4, r12, lr, r4\n"
        "    smlatt r6, r12, lr, r6\n"
        "    sxtb16 r12, \\in, ror #8\n"
        "    sxtb16 lr, \\weights, ror #8\n"
        "    smlabb r5, r12, lr, r5\n"
        "    smlatt r7, r12, lr, r7\n"
        ".endm\n"
        ".macro ql_two_taps\n"
        "    ldmia.w r1!, {r2, r3}\n"
        "    ldmia.w r0!, {r10, r11}\n"
        "    ldr r2, [r2, r8]\n"
        "    ldr r3, [r3, r8]\n"
        "    ql_tap r2, r10\n"
        "    ql_tap r3, r11\n"
        ".endm\n"
        "ql_taps_dsp:\n"
        "    push {r4-r11, lr}\n"
        "    mov r8, r3\n"
        "    ldrd r4, r5, [sp, #36]\n" /* channels, acc */
        "    add r4, r4, r3\n"
        "    push {r1, r2, r4, r5}\n"
        "1:  ldmia.w r0!, {r4-r7}\n" /* biases */
        "    ldrd r1, r2, [sp]\n"
        "    lsrs r9, r2, #1\n"
        "    bcc 2f\n"
        "    ldr r10, [r1], #4\n"
        "    ldr r11, [r0], #4\n"
        "    ldr r10, [r10, r8]\n"
        "    ql_tap r10, r11\n"
        "    beq 4f\n" /* of lsrs: no twos follow */
        "2:  lsrs r9, r9, #1\n"
        "    bcc 3f\n"
        "    ql_two_taps\n"
        "    beq 4f\n" /* no fours follow */
        "3:  ql_two_taps\n"
        "    ql_two_taps\n"
        "    subs r9, r9, #1\n"
        "    bne 3b\n"
        "4:  ldrd r2, r3, [sp, #8]\n"
        "    stmia r3!, {r4-r7}\n"
        "    str r3, [sp, #12]\n"
        "    add r8, r8, #4\n"
        "    cmp r8, r2\n"
        "    blt 1b\n"
        "    add sp, sp, #16\n"
        "    pop {r4-r11, pc}\n"
        ".purgem ql_two_taps\n"
        ".purgem ql_tap\n"
        ".size ql_taps_dsp, . - ql_taps_dsp\n"
        ".text\n");
#elif defined(__arm__)
#error "quarl: SMLAD is off in this compiler; turn it on, or export for a board without it"
#else

const int8_t *ql_taps_dsp(const int8_t *weights, const int32_t *taps, int32_t count,
                          const int8_t *in, int32_t channels, int32_t *acc)
{
    for (int32_t i = 0; i < channels; i += 4) {
        (void)memcpy(&acc[i], weights, 4 * sizeof *acc);
        weights += 16;
        for (int32_t tap = 0; tap < count; tap++) {
            for (int32_t j = 0; j < 4; j++) {
                acc[i + j] += weights[j] * in[taps[tap] + i + j];
            }
            weights += 4;
        }
    }
    return weights;
}

#endif
