/* SPDX-License-Identifier: Apache-2.0 */
/* Four packed rows of 2-bit weights by one lane with SMLAD (decision 0009);
 * contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

#if defined(__ARM_FEATURE_DSP)
/* Two steps, 32 multiply-accumulates, take 18 instructions; of a block of 16 steps what is left are
 * 14. The first block may be shorter: it begins in the middle.
 *
 *   r0  weights              r4, r5   weights of two steps      r12  starts of blocks
 *   r1  in                   r6 - r9  their inputs, sums        lr   acc
 *   r2  mask of a halfword   r10      sums of rows a, b
 *   r3  two rows, a low sum  r11      sums of rows c, d
 *   sp  in, its end, what is taken from b and d, entry, the end of acc */
_Static_assert(QL_BLOCK == 16, "a block is unrolled");
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_mac_w2_dsp, \"ax\", %progbits\n"
        ".global ql_mac_w2_dsp\n"
        ".type ql_mac_w2_dsp, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_mac_weights words, first, second\n"
        "    and r3, r2, \\words\n"
        "    smlad r10, r3, \\first, r10\n"
        "    and r3, r2, \\words, ror #4\n"
        "    smlad r11, r3, \\first, r11\n"
        "    and r3, r2, \\words, ror #8\n"
        "    smlad r10, r3, \\second, r10\n"
        "    and r3, r2, \\words, ror #12\n"
        "    smlad r11, r3, \\second, r11\n"
        ".endm\n"
        ".macro ql_mac_two_steps\n" /* 72 bytes */
        "    ldmia.w r0!, {r4, r5}\n"
        "    ldmia.w r1!, {r6-r9}\n"
        "    ql_mac_weights r4, r6, r7\n"
        "    ql_mac_weights r5, r8, r9\n"
        ".endm\n"
        "ql_mac_w2_dsp:\n"
        "    push {r4-r11, lr}\n"
        "    ldr lr, [sp, #36]\n"
        "    add r4, r1, r2, lsl #3\n"
        "    adds r5, r2, #15\n"
        "    lsrs r5, r5, #4\n"
        "    lsls r5, r5, #13\n" /* 2^13 of each block */
        "    rsbs r6, r2, #0\n"
        "    and r6, r6, #15\n" /* steps that the first block has fewer, an even number */
        "    adr r7, 2f\n"
        "    add r7, r7, r6, lsl #5\n"
        "    add r7, r7, r6, lsl #2\n"
        "    orr r7, r7, #1\n"
        "    add r8, lr, r3, lsl #4\n"
        "    push {r1, r4, r5, r7, r8}\n"
        "    movw r2, #0xC003\n"
        "    movt r2, #0xC003\n"
        "1:  ldmia.w r0!, {r6-r9}\n"
        "    ldrd r1, r12, [sp]\n"
        "    ldr r3, [sp, #8]\n"
        "    subs r7, r7, r3\n"
        "    sub r9, r9, r3\n"
        "    stm.w lr, {r6-r9}\n"
        "    ldr r10, [r12], #4\n"
        "    mov r11, r10\n"
        "    ldr pc, [sp, #12]\n"
        ".balign 4\n"
        "2:  ql_mac_two_steps\n"
        "    ql_mac_two_steps\n"
        "    ql_mac_two_steps\n"
        "    ql_mac_two_steps\n"
        "    ql_mac_two_steps\n"
        "    ql_mac_two_steps\n"
        "    ql_mac_two_steps\n"
        "    ql_mac_two_steps\n"
        "    ldm.w lr, {r6-r9}\n"
        "    add r6, r6, r10, asr #14\n"
        "    ubfx r3, r10, #0, #14\n"
        "    add r7, r7, r3\n"
        "    add r8, r8, r11, asr #14\n"
        "    ubfx r3, r11, #0, #14\n"
        "    add r9, r9, r3\n"
        "    stm.w lr, {r6-r9}\n"
        "    ldr r3, [sp, #4]\n"
        "    cmp r1, r3\n"
        "    beq 3f\n"
        "    ldr r10, [r12], #4\n"
        "    mov r11, r10\n"
        "    b 2b\n"
        "3:  add lr, lr, #16\n"
        "    ldr r3, [sp, #16]\n"
        "    cmp lr, r3\n"
        "    bne 1b\n"
        "    add sp, sp, #20\n"
        "    pop {r4-r11, pc}\n"
        ".purgem ql_mac_two_steps\n"
        ".purgem ql_mac_weights\n"
        ".size ql_mac_w2_dsp, . - ql_mac_w2_dsp\n"
        ".text\n");
#elif defined(__arm__)
#error "quarl: SMLAD is off in this compiler; turn it on, or export for a board without it"
#else

const int16_t *ql_mac_w2_dsp(const int16_t *weights, const int16_t *in, int32_t steps,
                             int32_t groups, int32_t *acc)
{
    for (int32_t group = 0; group < groups; group++) {
        weights = ql_take_bias(weights, acc);
        for (int32_t i = 0; i < QL_STEP * steps; i++) { /* in spread order */
            for (int32_t row = 0; row < QL_GROUP; row++) {
                acc[row] += ql_weight_w2(&weights[i / QL_STEP * 2], row, i % QL_STEP) * in[i];
            }
        }
        weights += 2 * steps;
        acc += QL_GROUP;
    }
    return weights;
}

#endif
