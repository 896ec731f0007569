/* SPDX-License-Identifier: Apache-2.0 */
/* Four rows of 2-bit weights by two windows with Helium (decision 0001);
 * contract: ql_kernels_mve.h. */
#include "ql_kernels_mve.h"

#if defined(__ARM_FEATURE_MVE)
/* A block, 128 multiply-accumulates, takes 14 instructions: a lane's shift drops the rows above, so
 * unpacking the last three of four rows takes one each for sixteen weights. Two blocks are
 * unrolled; where their number is odd, the first round begins in the middle.
 *
 *   r0, r2, r4, r6     sums of the first window: of bytes, then of bytes shifted by 2, 4 and 6
 *   r8, r10, r12, lr   the same of the second        q0, q1  inputs
 *   r1  weights        r3, r5  windows, biases       q2, q3  bytes, shifted
 *   r7  rounds that are left     r9  acc     r11  bias
 *   sp  the windows, rounds, entry, end of acc */
_Static_assert(QL_CHUNK == 32, "the second window's sums stand 128 bytes on");
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_mac_lanes_s8_w2_mve, \"ax\", %progbits\n"
        ".global ql_mac_lanes_s8_w2_mve\n"
        ".type ql_mac_lanes_s8_w2_mve, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_mac_block\n" /* 56 bytes */
        "    vldrb.u8 q0, [r3], #16\n"
        "    vldrb.u8 q2, [r1], #16\n"
        "    vldrb.u8 q1, [r5], #16\n"
        "    vmladava.s8 r0, q0, q2\n"
        "    vshl.i8 q3, q2, #2\n"
        "    vmladava.s8 r8, q1, q2\n"
        "    vshl.i8 q2, q2, #4\n"
        "    vmladava.s8 r2, q0, q3\n"
        "    vmladava.s8 r10, q1, q3\n"
        "    vshl.i8 q3, q2, #2\n"
        "    vmladava.s8 r4, q0, q2\n"
        "    vmladava.s8 r12, q1, q2\n"
        "    vmladava.s8 r6, q0, q3\n"
        "    vmladava.s8 lr, q1, q3\n"
        ".endm\n"
        ".macro ql_part first, second, third, fourth\n" /* 64 times the sum of each row */
        "    sub \\first, \\first, \\second, asr #2\n"
        "    sub \\second, \\second, \\third, asr #2\n"
        "    sub \\third, \\third, \\fourth, asr #2\n"
        ".endm\n"
        ".macro ql_take first, second, bytes\n"
        "    add \\first, r3, \\first, asr #6\n"
        "    add \\second, r5, \\second, asr #6\n"
        "    strd \\first, \\second, [r9, #\\bytes]\n"
        ".endm\n"
        "ql_mac_lanes_s8_w2_mve:\n"
        "    push {r4-r11, lr}\n"
        "    mov r11, r1\n"
        "    mov r1, r0\n"
        "    ldrd r7, r9, [sp, #36]\n"
        "    add r8, r9, r7, lsl #4\n"
        "    add r5, r2, r3, lsl #4\n"
        "    adds r6, r3, #1\n"
        "    lsrs r6, r6, #1\n"
        "    and r3, r3, #1\n" /* an odd block more: the first round leaves one out */
        "    adr r7, 2f\n"
        "    add r7, r7, r3, lsl #6\n"
        "    sub r7, r7, r3, lsl #3\n"
        "    orr r7, r7, #1\n"
        "    push {r2, r5, r6, r7, r8}\n"
        "1:  movs r0, #0\n"
        "    movs r2, #0\n"
        "    movs r4, #0\n"
        "    movs r6, #0\n"
        "    mov r8, r0\n"
        "    mov r10, r0\n"
        "    mov r12, r0\n"
        "    mov lr, r0\n"
        "    ldrd r3, r5, [sp]\n"
        "    ldr r7, [sp, #8]\n"
        "    ldr pc, [sp, #12]\n"
        ".balign 4\n"
        "2:  ql_mac_block\n"
        "    ql_mac_block\n"
        "    subs r7, r7, #1\n"
        "    bne 2b\n"
        "    ql_part r0, r2, r4, r6\n"
        "    ql_part r8, r10, r12, lr\n"
        "    ldrd r3, r5, [r11], #8\n"
        "    ql_take r0, r2, 0\n"
        "    ql_take r8, r10, 128\n"
        "    ldrd r3, r5, [r11], #8\n"
        "    ql_take r4, r6, 8\n"
        "    ql_take r12, lr, 136\n"
        "    add r9, r9, #16\n"
        "    ldr r0, [sp, #16]\n"
        "    cmp r9, r0\n"
        "    bne 1b\n"
        "    mov r0, r1\n"
        "    add sp, sp, #20\n"
        "    pop {r4-r11, pc}\n"
        ".purgem ql_mac_block\n"
        ".purgem ql_part\n"
        ".purgem ql_take\n"
        ".size ql_mac_lanes_s8_w2_mve, . - ql_mac_lanes_s8_w2_mve\n"
        ".text\n");
#elif defined(__arm__)
#error "quarl: MVE is off in this compiler; turn it on, or export for a board without it"
#else

const int8_t *ql_mac_lanes_s8_w2_mve(const int8_t *weights, const int32_t *bias, const int8_t *in,
                                     int32_t blocks, int32_t groups, int32_t *acc)
{
    for (int32_t group = 0; group < groups; group++) {
        for (int32_t lane = 0; lane < 2; lane++) {
            int32_t sums[QL_MVE_ROWS] = {0};
            for (int32_t i = 0; i < QL_MVE_LANES * blocks; i++) {
                uint32_t four = (uint32_t)weights[i];
                int32_t value = in[lane * QL_MVE_LANES * blocks + i];
                for (int32_t row = 0; row < QL_MVE_ROWS; row++) {
                    sums[row] += (int8_t)(four << 2 * row) * value;
                }
            }
            int32_t *out = &acc[lane * QL_CHUNK + QL_MVE_ROWS * group];
            const int32_t *start = &bias[QL_MVE_ROWS * group];
            for (int32_t row = 0; row < QL_MVE_ROWS - 1; row++) {
                out[row] = start[row] + (sums[row] - sums[row + 1] / 4) / 64;
            }
            out[3] = start[3] + sums[3] / 64;
        }
        weights += QL_MVE_LANES * blocks;
    }
    return weights;
}

#endif
