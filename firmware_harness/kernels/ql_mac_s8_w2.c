/* SPDX-License-Identifier: Apache-2.0 */
/* Four rows of 2-bit weights share each int8 input (decision 0009); contract: ql_kernels.h. */
#include "ql_kernels.h"

/* A register holds 2^16 * A + B, the sums of two rows, for a block of 128 inputs and what is left
 * of eight; weights stand 1 higher, so the sum of the inputs is taken from both. */
#if defined(__thumb__) && __ARM_ARCH_ISA_THUMB == 2
/* An input of four rows takes six instructions, eight inputs 51 with the end of the loop.
 *
 *   r0  weights     r4, r5  those of eight inputs     r10  sum of inputs
 *   r1  in          r6      the weights of two rows   r11  the end of whole eights
 *   r2  an end      r7      mask of them              r12  bias
 *   r3  an input    r8, r9  sums                      lr   acc
 *   sp  in, its end, the end of acc */
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_mac_s8_w2, \"ax\", %progbits\n"
        ".global ql_mac_s8_w2\n"
        ".type ql_mac_s8_w2, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_mac_input shift\n"
        "    ldrsb r3, [r1], #1\n"
        ".if \\shift\n"
        "    and r6, r7, r4, lsr #\\shift\n"
        "    mla r8, r3, r6, r8\n"
        "    and r6, r7, r5, lsr #\\shift\n"
        ".else\n"
        "    and r6, r7, r4\n"
        "    mla r8, r3, r6, r8\n"
        "    and r6, r7, r5\n"
        ".endif\n"
        "    mla r9, r3, r6, r9\n"
        "    add r10, r10, r3\n"
        ".endm\n"
        "ql_mac_s8_w2:\n"
        "    push {r4-r11, lr}\n"
        "    mov r12, r1\n"
        "    ldrd r4, lr, [sp, #36]\n"
        "    add r5, r2, r3\n"
        "    add r6, lr, r4, lsl #2\n"
        "    push {r2, r5, r6}\n"
        "    bic r3, r3, #7\n"
        "    add r11, r2, r3\n"
        "    mov r7, #0x00030003\n"
        "1:  ldmia.w r12!, {r3-r6}\n"
        "    stm lr, {r3-r6}\n"
        "    ldr r1, [sp]\n"
        "2:  movs r2, #0\n"
        "    mov r8, r2\n"
        "    mov r9, r2\n"
        "    mov r10, r2\n"
        "    add r2, r1, #128\n"
        "    cmp r2, r11\n"
        "    it hi\n"
        "    movhi r2, r11\n"
        "    cmp r1, r2\n"
        "    beq 4f\n"
        "3:  ldmia.w r0!, {r4, r5}\n"
        "    ql_mac_input 0\n"
        "    ql_mac_input 2\n"
        "    ql_mac_input 4\n"
        "    ql_mac_input 6\n"
        "    ql_mac_input 8\n"
        "    ql_mac_input 10\n"
        "    ql_mac_input 12\n"
        "    ql_mac_input 14\n"
        "    cmp r1, r2\n"
        "    bne 3b\n"
        "4:  cmp r1, r11\n" /* the last block takes what is left of eight */
        "    bne 6f\n"
        "    ldr r2, [sp, #4]\n"
        "    cmp r1, r2\n"
        "    beq 6f\n"
        "    ldmia.w r0!, {r4, r5}\n"
        "5:  ql_mac_input 0\n"
        "    lsrs r4, r4, #2\n"
        "    lsrs r5, r5, #2\n"
        "    cmp r1, r2\n"
        "    bne 5b\n"
        "6:  add r10, r10, r10, lsl #16\n"
        "    rsb r2, r10, #0x8000\n"
        "    add r8, r8, r2\n"
        "    add r9, r9, r2\n"
        "    ldm lr, {r3-r6}\n"
        "    add r3, r3, r8, asr #16\n"
        "    uxth r8, r8\n"
        "    add r4, r4, r8\n"
        "    sub r4, r4, #0x8000\n"
        "    add r5, r5, r9, asr #16\n"
        "    uxth r9, r9\n"
        "    add r6, r6, r9\n"
        "    sub r6, r6, #0x8000\n"
        "    stm lr, {r3-r6}\n"
        "    ldr r2, [sp, #4]\n"
        "    cmp r1, r2\n"
        "    bne 2b\n"
        "    add lr, lr, #16\n"
        "    ldr r2, [sp, #8]\n"
        "    cmp lr, r2\n"
        "    blo 1b\n"
        "    add sp, sp, #12\n"
        "    pop {r4-r11, pc}\n"
        ".purgem ql_mac_input\n"
        ".size ql_mac_s8_w2, . - ql_mac_s8_w2\n"
        ".text\n");
#elif defined(__thumb__) && __ARM_ARCH_ISA_THUMB == 1
/* An input of four rows takes eleven instructions, eight inputs 93 with the end of the loop.
 *
 *   r0  weights     r3, r4  those of eight inputs     r7      an end
 *   r1  in          r5      mask of two rows          r8, r9  sums
 *   r2  an input    r6      a product                 r10     sum of inputs
 *   sp  bias, in, the end of its whole eights, the end of acc, the end of in, acc */
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_mac_s8_w2, \"ax\", %progbits\n"
        ".global ql_mac_s8_w2\n"
        ".type ql_mac_s8_w2, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_mac_rows words, shift, sum\n"
        "    lsrs r6, \\words, \\shift\n"
        "    ands r6, r5\n"
        "    muls r6, r2, r6\n"
        "    add \\sum, r6\n"
        ".endm\n"
        ".macro ql_mac_input place, shift\n"
        "    ldrb r2, [r1, \\place]\n"
        "    sxtb r2, r2\n"
        "    add r10, r2\n"
        "    ql_mac_rows r3, \\shift, r8\n"
        "    ql_mac_rows r4, \\shift, r9\n"
        ".endm\n"
        ".macro ql_mac_first place\n" /* without a shift, whose immediate would be 32 */
        "    ldrb r2, [r1, \\place]\n"
        "    sxtb r2, r2\n"
        "    add r10, r2\n"
        "    movs r6, r3\n"
        "    ands r6, r5\n"
        "    muls r6, r2, r6\n"
        "    add r8, r6\n"
        "    movs r6, r4\n"
        "    ands r6, r5\n"
        "    muls r6, r2, r6\n"
        "    add r9, r6\n"
        ".endm\n"
        ".macro ql_take sum, row\n"
        "    mov r2, \\sum\n"
        "    add r2, r2, r7\n"
        "    asrs r3, r2, #16\n"
        "    uxth r2, r2\n"
        "    subs r2, r2, r5\n"
        "    ldr r4, [r6, #\\row]\n"
        "    adds r4, r4, r3\n"
        "    str r4, [r6, #\\row]\n"
        "    ldr r4, [r6, #\\row + 4]\n"
        "    adds r4, r4, r2\n"
        "    str r4, [r6, #\\row + 4]\n"
        ".endm\n"
        "ql_mac_s8_w2:\n"
        "    push {r4-r7, lr}\n"
        "    mov r4, r8\n"
        "    mov r5, r9\n"
        "    mov r6, r10\n"
        "    mov r7, r11\n"
        "    push {r4-r7}\n"
        "    ldr r4, [sp, #36]\n"
        "    ldr r7, [sp, #40]\n"
        "    lsls r4, r4, #2\n"
        "    adds r4, r4, r7\n"
        "    adds r5, r2, r3\n"
        "    lsrs r3, r3, #3\n"
        "    lsls r3, r3, #3\n"
        "    adds r3, r2, r3\n"
        "    push {r1, r2, r3, r4, r5, r7}\n"
        "1:  ldr r1, [sp]\n"
        "    ldmia r1!, {r2-r5}\n"
        "    str r1, [sp]\n"
        "    ldr r7, [sp, #20]\n"
        "    stmia r7!, {r2-r5}\n"
        "    ldr r1, [sp, #4]\n"
        "2:  movs r2, #0\n"
        "    mov r8, r2\n"
        "    mov r9, r2\n"
        "    mov r10, r2\n"
        "    movs r5, #3\n"
        "    lsls r2, r5, #16\n"
        "    adds r5, r5, r2\n"
        "    movs r7, r1\n"
        "    adds r7, r7, #128\n"
        "    ldr r2, [sp, #8]\n"
        "    cmp r7, r2\n"
        "    bls 3f\n"
        "    movs r7, r2\n"
        "3:  cmp r1, r7\n"
        "    beq 4f\n"
        "    ldmia r0!, {r3, r4}\n"
        "    ql_mac_first #0\n"
        "    ql_mac_input #1, #2\n"
        "    ql_mac_input #2, #4\n"
        "    ql_mac_input #3, #6\n"
        "    ql_mac_input #4, #8\n"
        "    ql_mac_input #5, #10\n"
        "    ql_mac_input #6, #12\n"
        "    ql_mac_input #7, #14\n"
        "    adds r1, r1, #8\n"
        "    b 3b\n"
        "4:  ldr r2, [sp, #8]\n" /* the last block takes what is left of eight */
        "    cmp r1, r2\n"
        "    bne 6f\n"
        "    ldr r7, [sp, #16]\n"
        "    cmp r1, r7\n"
        "    beq 6f\n"
        "    ldmia r0!, {r3, r4}\n"
        "5:  ql_mac_first #0\n"
        "    lsrs r3, r3, #2\n"
        "    lsrs r4, r4, #2\n"
        "    adds r1, r1, #1\n"
        "    cmp r1, r7\n"
        "    bne 5b\n"
        "6:  movs r5, #1\n"
        "    lsls r5, r5, #15\n"
        "    mov r2, r10\n"
        "    lsls r3, r2, #16\n"
        "    adds r2, r2, r3\n"
        "    subs r7, r5, r2\n"
        "    ldr r6, [sp, #20]\n"
        "    ql_take r8, 0\n"
        "    ql_take r9, 8\n"
        "    ldr r2, [sp, #16]\n"
        "    cmp r1, r2\n"
        "    beq 7f\n"
        "    b 2b\n"
        "7:  adds r6, r6, #16\n"
        "    str r6, [sp, #20]\n"
        "    ldr r2, [sp, #12]\n"
        "    cmp r6, r2\n"
        "    bhs 8f\n"
        "    b 1b\n"
        "8:  add sp, #24\n"
        "    pop {r4-r7}\n"
        "    mov r8, r4\n"
        "    mov r9, r5\n"
        "    mov r10, r6\n"
        "    mov r11, r7\n"
        "    pop {r4-r7, pc}\n"
        ".purgem ql_mac_input\n"
        ".purgem ql_mac_first\n"
        ".purgem ql_mac_rows\n"
        ".purgem ql_take\n"
        ".size ql_mac_s8_w2, . - ql_mac_s8_w2\n"
        ".text\n");
#else
#include <string.h>

enum { BLOCK = 128, EIGHT = 8 };

/* Adds both sums of 2^16 * A + B + 2^15. */
static inline void take(uint32_t both, int32_t *acc)
{
    acc[0] += (int32_t)((both >> 16) ^ 0x8000) - 0x8000;
    acc[1] += (int32_t)(both & 0xFFFF) - 0x8000;
}

const int8_t *ql_mac_s8_w2(const int8_t *weights, const int32_t *bias, const void *in,
                           int32_t in_len, int32_t rows, int32_t *acc)
{
    for (int32_t row = 0; row < rows; row += 4) {
        const int8_t *values = (const int8_t *)in;
        int32_t left = in_len;
        (void)memcpy(&acc[row], &bias[row], 4 * sizeof *acc);
        while (left > 0) {
            int32_t block = left < BLOCK + EIGHT ? left : BLOCK;
            uint32_t ab = 0x8000;
            uint32_t cd = 0x8000;
            left -= block;
            for (; block > 0; block -= EIGHT) {
                uint32_t words[2];
                (void)memcpy(words, weights, sizeof words);
                weights += sizeof words;
                for (int32_t i = 0; i < (block < EIGHT ? block : EIGHT); i++) {
                    uint32_t value = (uint32_t)*values++;
                    ab += (words[0] & 0x00030003) * value - 0x00010001 * value;
                    cd += (words[1] & 0x00030003) * value - 0x00010001 * value;
                    words[0] >>= 2;
                    words[1] >>= 2;
                }
            }
            take(ab, &acc[row]);
            take(cd, &acc[row + 2]);
        }
    }
    return weights;
}

#endif
