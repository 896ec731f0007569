/* SPDX-License-Identifier: Apache-2.0 */
/* Four packed rows by two lanes with SMLAD (decision 0009); contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

#if defined(__ARM_FEATURE_DSP)
/* Sixteen multiply-accumulates, two inputs of each lane, take 12 instructions and 16 cycles of an
 * M4. Four steps are unrolled; where their number is no multiple of four, the first round begins in
 * the middle.
 *
 *   r0  weights         r6, r7    S and B of rows a, b, lane 0     r10, r11  the same of lane 1
 *   r1  in              r8, r9    S and B of rows c, d, lane 0     r12, lr   the same of lane 1
 *   r2, r3  weights     r4, r5    inputs of lanes 0 and 1
 *   sp  in, its end, entry, acc, its end, biases of a and c */
_Static_assert(QL_LANE == 33, "the second lane's sums stand 132 bytes on");
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_mac_lanes_dsp, \"ax\", %progbits\n"
        ".global ql_mac_lanes_dsp\n"
        ".type ql_mac_lanes_dsp, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_mac_half_step\n" /* 44 bytes: both loads are narrow */
        "    ldmia r0!, {r2, r3}\n"
        "    ldmia r1!, {r4, r5}\n"
        "    smlad r6, r2, r4, r6\n"
        "    smlad r10, r2, r5, r10\n"
        "    sxtb16 r2, r2\n"
        "    smlad r8, r3, r4, r8\n"
        "    smlad r12, r3, r5, r12\n"
        "    sxtb16 r3, r3\n"
        "    smlad r7, r2, r4, r7\n"
        "    smlad r11, r2, r5, r11\n"
        "    smlad r9, r3, r4, r9\n"
        "    smlad lr, r3, r5, lr\n"
        ".endm\n"
        "ql_mac_lanes_dsp:\n"
        "    push {r4-r11, lr}\n"
        "    ldr r7, [sp, #36]\n"
        "    add r4, r1, r2, lsl #4\n"
        "    rsbs r5, r2, #0\n" /* steps that the first round leaves out */
        "    and r5, r5, #7\n"
        "    adr r6, 2f\n"
        "    add r8, r7, r3, lsl #4\n"
        "    movs r3, #2 * 44\n"
        "    mla r6, r5, r3, r6\n"
        "    adds r6, #1\n"
        "    sub sp, sp, #8\n"
        "    push {r1, r4, r6, r7, r8}\n"
        "1:  ldr r1, [sp]\n"
        "    ldmia.w r0!, {r4, r7, r8, r9}\n"
        "    strd r4, r8, [sp, #20]\n"
        "    mov r6, r7\n"
        "    mov r10, r7\n"
        "    mov r11, r7\n"
        "    mov r8, r9\n"
        "    mov r12, r9\n"
        "    mov lr, r9\n"
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
        "    ql_mac_half_step\n"
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
        "    ldrd r3, r4, [sp, #20]\n"
        "    subs r6, r6, r7\n"
        "    sub r8, r8, r9\n"
        "    sub r10, r10, r11\n"
        "    sub r12, r12, lr\n"
        "    add r6, r3, r6, asr #8\n"
        "    add r8, r4, r8, asr #8\n"
        "    add r10, r3, r10, asr #8\n"
        "    add r12, r4, r12, asr #8\n"
        "    add r3, r2, #132\n"
        "    stm r3, {r10, r11, r12, lr}\n"
        "    stmia r2!, {r6-r9}\n"
        "    str r2, [sp, #12]\n"
        "    ldr r3, [sp, #16]\n"
        "    cmp r2, r3\n"
        "    bne 1b\n"
        "    add sp, sp, #28\n"
        "    pop {r4-r11, pc}\n"
        ".purgem ql_mac_half_step\n"
        ".size ql_mac_lanes_dsp, . - ql_mac_lanes_dsp\n"
        ".text\n");
#elif defined(__arm__)
#error "quarl: SMLAD is off in this compiler; turn it on, or export for a board without it"
#else

const int16_t *ql_mac_lanes_dsp(const int16_t *weights, const int16_t *in, int32_t steps,
                                int32_t groups, int32_t *acc)
{
    for (int32_t group = 0; group < groups; group++) {
        (void)ql_take_bias(weights, &acc[QL_LANE]);
        weights = ql_take_bias(weights, acc);
        for (int32_t i = 0; i < QL_STEP * steps; i++) { /* in spread order */
            for (int32_t pair = 0; pair < 2; pair++) {
                int32_t packed = weights[i / 2 * 4 + pair * 2 + i % 2];
                int32_t low = (int8_t)(packed & 0xFF);
                for (int32_t lane = 0; lane < 2; lane++) {
                    int32_t value = in[i / 2 * 4 + 2 * lane + i % 2];
                    acc[lane * QL_LANE + 2 * pair] += (packed - low) / 256 * value;
                    acc[lane * QL_LANE + 2 * pair + 1] += low * value;
                }
            }
        }
        weights += 2 * QL_STEP * steps;
        acc += QL_GROUP;
    }
    return weights;
}

#endif
