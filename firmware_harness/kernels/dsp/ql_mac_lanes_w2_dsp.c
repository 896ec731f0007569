/* SPDX-License-Identifier: Apache-2.0 */
/* Four packed rows of 2-bit weights by two lanes with SMLAD (decision 0009);
 * contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

#if defined(__ARM_FEATURE_DSP)
/* A step, 32 multiply-accumulates, takes 14 instructions; of a block of 16 steps what is left
 * are 27. The first block may be shorter: it begins in the middle.
 *
 *   r0  weights              r4      weights of a step, acc     r9, r10   sums of rows a, b
 *   r1  in                   r5, r6  two inputs of each lane    r11, r12  sums of rows c, d
 *   r2  mask of a halfword   r7, r8  the other two              lr        starts of blocks
 *   r3  two rows, a low sum
 *   sp  in, its end, what is taken from b and d, acc, entry, the end of acc */
_Static_assert(QL_LANE == 33, "the second lane's sums stand 132 bytes on");
_Static_assert(QL_BLOCK == 16, "a block is unrolled");
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_mac_lanes_w2_dsp, \"ax\", %progbits\n"
        ".global ql_mac_lanes_w2_dsp\n"
        ".type ql_mac_lanes_w2_dsp, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_mac_step\n" /* 56 bytes */
        "    ldr r4, [r0], #4\n"
        "    ldmia.w r1!, {r5-r8}\n"
        "    and r3, r2, r4\n"
        "    smlad r9, r3, r5, r9\n"
        "    smlad r10, r3, r6, r10\n"
        "    and r3, r2, r4, ror #4\n"
        "    smlad r11, r3, r5, r11\n"
        "    smlad r12, r3, r6, r12\n"
        "    and r3, r2, r4, ror #8\n"
        "    smlad r9, r3, r7, r9\n"
        "    smlad r10, r3, r8, r10\n"
        "    and r3, r2, r4, ror #12\n"
        "    smlad r11, r3, r7, r11\n"
        "    smlad r12, r3, r8, r12\n"
        ".endm\n"
        ".macro ql_take ab, cd\n" /* to acc of a lane */
        "    ldm r4, {r5-r8}\n"
        "    add r5, r5, \\ab, asr #14\n"
        "    ubfx r3, \\ab, #0, #14\n"
        "    add r6, r6, r3\n"
        "    add r7, r7, \\cd, asr #14\n"
        "    ubfx r3, \\cd, #0, #14\n"
        "    add r8, r8, r3\n"
        "    stm r4, {r5-r8}\n"
        ".endm\n"
        "ql_mac_lanes_w2_dsp:\n"
        "    push {r4-r11, lr}\n"
        "    ldr r7, [sp, #36]\n"
        "    add r4, r1, r2, lsl #4\n"
        "    adds r5, r2, #15\n"
        "    lsrs r5, r5, #4\n"
        "    lsls r5, r5, #13\n" /* 2^13 of each block */
        "    rsbs r6, r2, #0\n"
        "    and r6, r6, #15\n" /* steps that the first block has fewer */
        "    adr r8, 2f\n"
        "    add r8, r8, r6, lsl #6\n"
        "    sub r8, r8, r6, lsl #3\n"
        "    orr r8, r8, #1\n"
        "    add r9, r7, r3, lsl #4\n"
        "    push {r1, r4, r5, r7, r8, r9}\n"
        "    movw r2, #0xC003\n"
        "    movt r2, #0xC003\n"
        "1:  ldmia.w r0!, {r5-r8}\n"
        "    ldrd r1, lr, [sp]\n"
        "    ldrd r3, r4, [sp, #8]\n"
        "    subs r6, r6, r3\n"
        "    sub r8, r8, r3\n"
        "    stm r4, {r5-r8}\n"
        "    adds r4, r4, #132\n" /* the second lane */
        "    stm r4, {r5-r8}\n"
        "    ldmia.w lr!, {r9, r10}\n"
        "    mov r11, r9\n"
        "    mov r12, r10\n"
        "    ldr pc, [sp, #16]\n"
        ".balign 4\n"
        "2:  ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ql_mac_step\n"
        "    ldr r4, [sp, #12]\n"
        "    ql_take r9, r11\n"
        "    adds r4, r4, #132\n"
        "    ql_take r10, r12\n"
        "    ldr r3, [sp, #4]\n"
        "    cmp r1, r3\n"
        "    beq 3f\n"
        "    ldmia.w lr!, {r9, r10}\n"
        "    mov r11, r9\n"
        "    mov r12, r10\n"
        "    b 2b\n"
        "3:  subs r4, r4, #116\n"
        "    str r4, [sp, #12]\n"
        "    ldr r3, [sp, #20]\n"
        "    cmp r4, r3\n"
        "    bne 1b\n"
        "    add sp, sp, #24\n"
        "    pop {r4-r11, pc}\n"
        ".purgem ql_mac_step\n"
        ".purgem ql_take\n"
        ".size ql_mac_lanes_w2_dsp, . - ql_mac_lanes_w2_dsp\n"
        ".text\n");
#elif defined(__arm__)
#error "quarl: SMLAD is off in this compiler; turn it on, or export for a board without it"
#else

const int16_t *ql_mac_lanes_w2_dsp(const int16_t *weights, const int16_t *in, int32_t steps,
                                   int32_t groups, int32_t *acc)
{
    for (int32_t group = 0; group < groups; group++) {
        (void)ql_take_bias(weights, &acc[QL_LANE]);
        weights = ql_take_bias(weights, acc);
        for (int32_t i = 0; i < QL_STEP * steps; i++) { /* in spread order */
            const int16_t *word = &weights[i / QL_STEP * 2];
            for (int32_t row = 0; row < QL_GROUP; row++) {
                int32_t weight = ql_weight_w2(word, row, i % QL_STEP);
                acc[row] += weight * in[i / 2 * 4 + i % 2];
                acc[QL_LANE + row] += weight * in[i / 2 * 4 + 2 + i % 2];
            }
        }
        weights += 2 * steps;
        acc += QL_GROUP;
    }
    return weights;
}

#endif
