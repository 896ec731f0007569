/* SPDX-License-Identifier: Apache-2.0 */
/* Four packed rows of 4-bit weights by two lanes with SMLAD (decision 0009);
 * contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

#if defined(__ARM_FEATURE_DSP)
/* Sixteen multiply-accumulates, two inputs of each lane, take 13 instructions and 16 cycles of an
 * M4. Four steps are unrolled; where their number is no multiple of four, the first round begins in
 * the middle. With ab and cd the bytes of a halfword, for lanes 0 and 1:
 *
 *   r0  weights          r6, r7  sums of halfwords     r10, r11  sums of cd
 *   r1  in               r8, r9  sums of 256 b + d     r12, lr   sums of d
 *   r2  weights, cd      r4, r5  inputs
 *   r3  nibbles b and d
 *   sp  in, its end, entry, acc, its end, what is taken from b, c, d of each lane */
_Static_assert(QL_LANE == 33, "the second lane's sums stand 132 bytes on");
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_mac_lanes_w4_dsp, \"ax\", %progbits\n"
        ".global ql_mac_lanes_w4_dsp\n"
        ".type ql_mac_lanes_w4_dsp, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_mac_half_step\n" /* 52 bytes */
        "    ldr.w r2, [r0], #4\n"
        "    ldmia.w r1!, {r4, r5}\n"
        "    smlad r6, r2, r4, r6\n"
        "    smlad r7, r2, r5, r7\n"
        "    and r3, r2, #0x0F0F0F0F\n"
        "    uxtb16 r2, r2\n"
        "    smlad r8, r3, r4, r8\n"
        "    smlad r9, r3, r5, r9\n"
        "    uxtb16 r3, r3\n"
        "    smlad r10, r2, r4, r10\n"
        "    smlad r11, r2, r5, r11\n"
        "    smlad r12, r3, r4, r12\n"
        "    smlad lr, r3, r5, lr\n"
        ".endm\n"
        "ql_mac_lanes_w4_dsp:\n"
        "    push {r4-r11, lr}\n"
        "    ldr r7, [sp, #36]\n"
        "    add r4, r1, r2, lsl #4\n"
        "    rsbs r5, r2, #0\n" /* steps that the first round leaves out */
        "    and r5, r5, #3\n"
        "    adr r6, 2f\n"
        "    add r6, r6, r5, lsl #6\n"
        "    add r6, r6, r5, lsl #5\n"
        "    add r6, r6, r5, lsl #3\n"
        "    orr r6, r6, #1\n"
        "    add r8, r7, r3, lsl #4\n"
        "    ldr r9, [r7, #128]\n"
        "    ldr r10, [r7, #260]\n"
        "    push {r1, r4, r6, r7, r8, r9, r10}\n"
        "1:  ldr r1, [sp]\n"
        "    movs r6, #0\n"
        "    movs r7, #0\n"
        "    mov r8, r6\n"
        "    mov r9, r6\n"
        "    mov r10, r6\n"
        "    mov r11, r6\n"
        "    mov r12, r6\n"
        "    mov lr, r6\n"
        "    ldr pc, [sp, #8]\n"
        ".balign 4\n"
        "2:  ql_mac_half_step\n"
        "    ql_mac_half_step\n"
        "    ql_mac_half_step\n"
        "    ql_mac_half_step\n"
        "    ql_mac_half_step\n"
        "    ql_mac_half_step\n"
        "    ql_mac_half_step\n"
        "    ql_mac_half_step\n"
        "    ldr r2, [sp, #4]\n"
        "    cmp r1, r2\n"
        "    bne 2b\n"
        "    ldr r2, [sp, #12]\n"
        "    ldm r0, {r1, r3, r4, r5}\n" /* biases */
        "    sub r8, r8, r12\n"          /* 256 B */
        "    sub r6, r6, r8\n"
        "    sub r6, r6, r10\n"   /* 4096 A */
        "    sub r10, r10, r12\n" /* 16 C */
        "    add r1, r1, r6, asr #12\n"
        "    add r3, r3, r8, asr #8\n"
        "    add r4, r4, r10, asr #4\n"
        "    add r5, r5, r12\n"
        "    ldrd r8, r10, [sp, #20]\n"
        "    sub r3, r3, r8\n"
        "    sub r4, r4, r8\n"
        "    sub r5, r5, r8\n"
        "    add r6, r2, #132\n"
        "    stmia r2!, {r1, r3, r4, r5}\n"
        "    ldmia.w r0!, {r1, r3, r4, r5}\n"
        "    sub r9, r9, lr\n"
        "    sub r7, r7, r9\n"
        "    sub r7, r7, r11\n"
        "    sub r11, r11, lr\n"
        "    add r1, r1, r7, asr #12\n"
        "    add r3, r3, r9, asr #8\n"
        "    add r4, r4, r11, asr #4\n"
        "    add r5, r5, lr\n"
        "    sub r3, r3, r10\n"
        "    sub r4, r4, r10\n"
        "    sub r5, r5, r10\n"
        "    stm r6, {r1, r3, r4, r5}\n"
        "    str r2, [sp, #12]\n"
        "    ldr r3, [sp, #16]\n"
        "    cmp r2, r3\n"
        "    bne 1b\n"
        "    add sp, sp, #28\n"
        "    pop {r4-r11, pc}\n"
        ".purgem ql_mac_half_step\n"
        ".size ql_mac_lanes_w4_dsp, . - ql_mac_lanes_w4_dsp\n"
        ".text\n");
#elif defined(__arm__)
#error "quarl: SMLAD is off in this compiler; turn it on, or export for a board without it"
#else

const int16_t *ql_mac_lanes_w4_dsp(const int16_t *weights, const int16_t *in, int32_t steps,
                                   int32_t groups, int32_t *acc)
{
    int32_t shifts[2] = {acc[QL_CHUNK], acc[QL_LANE + QL_CHUNK]};
    for (int32_t group = 0; group < groups; group++) {
        for (int32_t lane = 0; lane < 2; lane++) {
            int32_t *sums = &acc[lane * QL_LANE];
            (void)ql_take_bias(&weights[QL_STEP * steps], sums);
            for (int32_t row = 1; row < QL_GROUP; row++) {
                sums[row] -= shifts[lane];
            }
        }
        for (int32_t i = 0; i < QL_STEP * steps; i++) { /* in spread order */
            int32_t packed = *weights;
            for (int32_t lane = 0; lane < 2; lane++) {
                int32_t *sums = &acc[lane * QL_LANE];
                int32_t value = in[i / 2 * 4 + 2 * lane + i % 2];
                sums[0] += ((packed >> 8) - (packed >> 8 & 15)) / 16 * value;
                sums[1] += (packed >> 8 & 15) * value;
                sums[2] += (packed >> 4 & 15) * value;
                sums[3] += (packed & 15) * value;
            }
            weights++;
        }
        weights += 2 * QL_GROUP;
        acc += QL_GROUP;
    }
    return weights;
}

#endif
