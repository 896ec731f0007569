/* SPDX-License-Identifier: Apache-2.0 */
/* Four rows of 4-bit weights by two windows with Helium (decision 0001);
 * contract: ql_kernels_mve.h. */
#include "ql_kernels_mve.h"

#if defined(__ARM_FEATURE_MVE)
/* A block, 128 multiply-accumulates, takes 14 instructions: a lane's shift drops the first row's
 * nibble, so unpacking the second takes one for sixteen weights. Two blocks are unrolled; where
 * their number is odd, the first round begins in the middle.
 *
 *   r0, r2, r4, r6     sums of the first window: bytes, 16 times second rows, of two pairs of rows
 *   r8, r10, r12, lr   the same of the second        q0, q1  inputs
 *   r1  weights        r3, r5  windows               q2, q3  bytes, second rows
 *   r7  rounds that are left     r9  acc     r11  bias
 *   sp  the windows, rounds, entry, end of acc */
_Static_assert(QL_CHUNK == 32, "the second window's sums stand 128 bytes on");
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_mac_lanes_s8_w4_mve, \"ax\", %progbits\n"
        ".global ql_mac_lanes_s8_w4_mve\n"
        ".type ql_mac_lanes_s8_w4_mve, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_mac_block\n" /* 56 bytes */
        "    vldrb.u8 q0, [r3], #16\n"
        "    vldrb.u8 q2, [r1], #16\n"
        "    vldrb.u8 q1, [r5], #16\n"
        "    vshl.i8 q3, q2, #4\n"
        "    vmladava.s8 r0, q0, q2\n"
        "    vmladava.s8 r8, q1, q2\n"
        "    vmladava.s8 r2, q0, q3\n"
        "    vldrb.u8 q2, [r1], #16\n"
        "    vmladava.s8 r10, q1, q3\n"
        "    vshl.i8 q3, q2, #4\n"
        "    vmladava.s8 r4, q0, q2\n"
        "    vmladava.s8 r12, q1, q2\n"
        "    vmladava.s8 r6, q0, q3\n"
        "    vmladava.s8 lr, q1, q3\n"
        ".endm\n"
        ".macro ql_take first, second, bytes\n" /* of a pair of rows, to acc */
        "    asr \\second, \\second, #4\n"
        "    sub \\first, \\first, \\second\n"
        "    asr \\first, \\first, #4\n"
        "    strd \\first, \\second, [r9, #\\bytes]\n"
        ".endm\n"
        "ql_mac_lanes_s8_w4_mve:\n"
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
        "1:  ldrd r0, r2, [r11], #8\n"
        "    ldrd r4, r6, [r11], #8\n"
        "    add r0, r2, r0, lsl #4\n"
        "    lsls r2, r2, #4\n"
        "    add r4, r6, r4, lsl #4\n"
        "    lsls r6, r6, #4\n"
        "    mov r8, r0\n"
        "    mov r10, r2\n"
        "    mov r12, r4\n"
        "    mov lr, r6\n"
        "    ldrd r3, r5, [sp]\n"
        "    ldr r7, [sp, #8]\n"
        "    ldr pc, [sp, #12]\n"
        ".balign 4\n"
        "2:  ql_mac_block\n"
        "    ql_mac_block\n"
        "    subs r7, r7, #1\n"
        "    bne 2b\n"
        "    ql_take r0, r2, 0\n"
        "    ql_take r4, r6, 8\n"
        "    ql_take r8, r10, 128\n"
        "    ql_take r12, lr, 136\n"
        "    add r9, r9, #16\n"
        "    ldr r0, [sp, #16]\n"
        "    cmp r9, r0\n"
        "    bne 1b\n"
        "    mov r0, r1\n"
        "    add sp, sp, #20\n"
        "    pop {r4-r11, pc}\n"
        ".purgem ql_mac_block\n"
        ".purgem ql_take\n"
        ".size ql_mac_lanes_s8_w4_mve, . - ql_mac_lanes_s8_w4_mve\n"
        ".text\n");
#elif defined(__arm__)
#error "quarl: MVE is off in this compiler; turn it on, or export for a board without it"
#else

const int8_t *ql_mac_lanes_s8_w4_mve(const int8_t *weights, const int32_t *bias, const int8_t *in,
                                     int32_t blocks, int32_t groups, int32_t *acc)
{
    for (int32_t row = 0; row < QL_MVE_ROWS * groups; row += 2) {
        const int8_t *pair = &weights[row / 4 * 32 * blocks + row % 4 * 8];
        for (int32_t lane = 0; lane < 2; lane++) {
            int32_t *sums = &acc[lane * QL_CHUNK + row];
            int32_t both = 16 * bias[row] + bias[row + 1];
            int32_t second = 16 * bias[row + 1];
            for (int32_t i = 0; i < QL_MVE_LANES * blocks; i++) {
                int32_t weight = pair[i / 16 * 32 + i % 16];
                int32_t value = in[lane * QL_MVE_LANES * blocks + i];
                both += weight * value;
                second += (int8_t)((uint32_t)weight << 4) * value;
            }
            sums[1] = second / 16;
            sums[0] = (both - sums[1]) / 16;
        }
    }
    return &weights[32 * blocks * groups];
}

#endif
