/* SPDX-License-Identifier: Apache-2.0 */
/* Four packed rows of 4-bit weights by one lane with SMLAD (decision 0009);
 * contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

#if defined(__ARM_FEATURE_DSP)
/* Two steps, 32 multiply-accumulates, take 31 instructions. Two of them are unrolled; where their
 * number is odd, the first round begins in the middle. With ab and cd the bytes of a halfword:
 *
 *   r0  weights              r6  sum of halfwords     r10, r11  inputs of a step
 *   r1  in                   r7  sum of 256 b + d     lr        nibbles b and d
 *   r2 - r5  weights of two  r8  sum of cd            r12       rounds that are left
 *            steps           r9  sum of d
 *   sp  in, rounds, entry, acc, its end, what is taken from b, c, d */
_Static_assert(QL_CHUNK == 32, "what is taken stands 128 bytes on");
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_mac_w4_dsp, \"ax\", %progbits\n"
        ".global ql_mac_w4_dsp\n"
        ".type ql_mac_w4_dsp, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_mac_nibbles weights, in\n"
        "    smlad r6, \\weights, \\in, r6\n"
        "    and lr, \\weights, #0x0F0F0F0F\n"
        "    uxtb16 \\weights, \\weights\n"
        "    smlad r7, lr, \\in, r7\n"
        "    uxtb16 lr, lr\n"
        "    smlad r8, \\weights, \\in, r8\n"
        "    smlad r9, lr, \\in, r9\n"
        ".endm\n"
        ".macro ql_mac_two_steps\n" /* 124 bytes */
        "    ldmia.w r0!, {r2-r5}\n"
        "    ldmia.w r1!, {r10, r11}\n"
        "    ql_mac_nibbles r2, r10\n"
        "    ql_mac_nibbles r3, r11\n"
        "    ldmia.w r1!, {r10, r11}\n"
        "    ql_mac_nibbles r4, r10\n"
        "    ql_mac_nibbles r5, r11\n"
        ".endm\n"
        "ql_mac_w4_dsp:\n"
        "    push {r4-r11, lr}\n"
        "    ldr r7, [sp, #36]\n"
        "    adds r4, r2, #3\n"
        "    lsrs r4, r4, #2\n"
        "    rsb r5, r2, r4, lsl #2\n" /* steps that the first round leaves out: 0 or 2 */
        "    adr r6, 2f\n"
        "    add r6, r6, r5, lsl #6\n"
        "    sub r6, r6, r5, lsl #1\n"
        "    orr r6, r6, #1\n"
        "    add r8, r7, r3, lsl #4\n"
        "    ldr r9, [r7, #128]\n"
        "    push {r1, r4, r6, r7, r8, r9}\n"
        "1:  movs r6, #0\n"
        "    movs r7, #0\n"
        "    mov r8, r6\n"
        "    mov r9, r6\n"
        "    ldmia.w sp, {r1, r12, pc}\n"
        ".balign 4\n"
        "2:  ql_mac_two_steps\n"
        "    ql_mac_two_steps\n"
        "    subs r12, r12, #1\n"
        "    bne 2b\n"
        "    ldmia.w r0!, {r2-r5}\n" /* biases */
        "    ldr r12, [sp, #12]\n"
        "    sub r7, r7, r9\n" /* 256 B */
        "    subs r6, r6, r7\n"
        "    sub r6, r6, r8\n" /* 4096 A */
        "    sub r8, r8, r9\n" /* 16 C */
        "    add r2, r2, r6, asr #12\n"
        "    add r3, r3, r7, asr #8\n"
        "    add r4, r4, r8, asr #4\n"
        "    add r5, r5, r9\n"
        "    ldr r10, [sp, #20]\n"
        "    sub r3, r3, r10\n"
        "    sub r4, r4, r10\n"
        "    sub r5, r5, r10\n"
        "    stmia r12!, {r2-r5}\n"
        "    str r12, [sp, #12]\n"
        "    ldr r2, [sp, #16]\n"
        "    cmp r12, r2\n"
        "    bne 1b\n"
        "    add sp, sp, #24\n"
        "    pop {r4-r11, pc}\n"
        ".purgem ql_mac_two_steps\n"
        ".purgem ql_mac_nibbles\n"
        ".size ql_mac_w4_dsp, . - ql_mac_w4_dsp\n"
        ".text\n");
#elif defined(__arm__)
#error "quarl: SMLAD is off in this compiler; turn it on, or export for a board without it"
#else

const int16_t *ql_mac_w4_dsp(const int16_t *weights, const int16_t *in, int32_t steps,
                             int32_t groups, int32_t *acc)
{
    int32_t shift = acc[QL_CHUNK];
    for (int32_t group = 0; group < groups; group++) {
        (void)ql_take_bias(&weights[QL_STEP * steps], acc);
        for (int32_t row = 1; row < QL_GROUP; row++) {
            acc[row] -= shift;
        }
        for (int32_t i = 0; i < QL_STEP * steps; i++) { /* in spread order */
            int32_t packed = *weights;
            acc[0] += ((packed >> 8) - (packed >> 8 & 15)) / 16 * in[i];
            acc[1] += (packed >> 8 & 15) * in[i];
            acc[2] += (packed >> 4 & 15) * in[i];
            acc[3] += (packed & 15) * in[i];
            weights++;
        }
        weights += 2 * QL_GROUP;
        acc += QL_GROUP;
    }
    return weights;
}

#endif
