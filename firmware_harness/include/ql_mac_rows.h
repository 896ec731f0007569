/* SPDX-License-Identifier: Apache-2.0 */
/* Four rows share each input, on cores without SMLAD (decision 0001); contract: ql_kernels.h.
 *
 * The text of ql_mac_s8, ql_mac_s16 and those whose names end in _w4 and _w2, which define
 *     QL_NAME, QL_NAME_TEXT   the function
 *     QL_BITS                 of a weight: 8, 4 or 2
 *     QL_ELEMENT              the type of an input
 *     QL_LOAD                 the instruction that loads one
 *     QL_LOG2_BYTES           log2 of its bytes */
#include "ql_kernels.h"

#define QL_TEXT_OF(number) #number
#define QL_TEXT(number) QL_TEXT_OF(number)

#if defined(__thumb__) && __ARM_ARCH_ISA_THUMB == 2
/* An input of four rows takes nine instructions, four inputs 38 with the end of the loop.
 *
 *   r0  weights     r3       an input             r12  bias
 *   r1  in          r4 - r7  its weights          lr   acc
 *   r2  an end      r8 - r11 sums; of 4 bits r8 and r10 those of whole bytes,
 *                                                  of 2 bits those of 8, 6, 4 and 2 bits
 *   sp  in, its end, the end of its whole fours, the end of acc */
/* clang-format off */
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text." QL_NAME_TEXT ", \"ax\", %progbits\n"
        ".global " QL_NAME_TEXT "\n"
        ".type " QL_NAME_TEXT ", %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_mac_input\n"
        "    " QL_LOAD " r3, [r1], #1 << " QL_LOG2_BYTES "\n"
        ".if " QL_TEXT(QL_BITS) " == 8\n"
        "    ldrsb r4, [r0], #4\n"
        "    ldrsb r5, [r0, #-3]\n"
        "    ldrsb r6, [r0, #-2]\n"
        "    ldrsb r7, [r0, #-1]\n"
        ".elseif " QL_TEXT(QL_BITS) " == 4\n"
        "    ldrsb r4, [r0], #2\n"
        "    ldrsb r6, [r0, #-1]\n"
        "    sbfx r5, r4, #0, #4\n"
        "    sbfx r7, r6, #0, #4\n"
        ".else\n"
        "    ldrsb r4, [r0], #1\n"
        "    sbfx r5, r4, #0, #6\n"
        "    sbfx r6, r4, #0, #4\n"
        "    sbfx r7, r4, #0, #2\n"
        ".endif\n"
        "    mla r8, r3, r4, r8\n"
        "    mla r9, r3, r5, r9\n"
        "    mla r10, r3, r6, r10\n"
        "    mla r11, r3, r7, r11\n"
        ".endm\n"
        QL_NAME_TEXT ":\n"
        "    push {r4-r11, lr}\n"
        "    mov r12, r1\n"
        "    ldrd r4, lr, [sp, #36]\n"
        "    add r7, lr, r4, lsl #2\n"
        "    add r5, r2, r3, lsl #" QL_LOG2_BYTES "\n"
        "    bic r3, r3, #3\n"
        "    add r6, r2, r3, lsl #" QL_LOG2_BYTES "\n"
        "    push {r2, r5, r6, r7}\n"
        "1:  ldmia r12!, {r8-r11}\n"
        ".if " QL_TEXT(QL_BITS) " == 4\n"
        "    add r8, r9, r8, lsl #4\n"
        "    add r10, r11, r10, lsl #4\n"
        ".elseif " QL_TEXT(QL_BITS) " == 2\n"
        "    add r10, r11, r10, lsl #2\n"
        "    add r9, r10, r9, lsl #4\n"
        "    add r8, r9, r8, lsl #6\n"
        ".endif\n"
        "    ldr r1, [sp]\n"
        "    ldr r2, [sp, #8]\n"
        "    cmp r1, r2\n"
        "    beq 3f\n"
        "2:  ql_mac_input\n"
        "    ql_mac_input\n"
        "    ql_mac_input\n"
        "    ql_mac_input\n"
        "    cmp r1, r2\n"
        "    bne 2b\n"
        "3:  ldr r2, [sp, #4]\n"
        "    cmp r1, r2\n"
        "    beq 5f\n"
        "4:  ql_mac_input\n"
        "    cmp r1, r2\n"
        "    bne 4b\n"
        "5:\n"
        ".if " QL_TEXT(QL_BITS) " == 4\n"
        "    sub r8, r8, r9\n"
        "    asr r8, r8, #4\n"
        "    sub r10, r10, r11\n"
        "    asr r10, r10, #4\n"
        ".elseif " QL_TEXT(QL_BITS) " == 2\n"
        "    sub r8, r8, r9\n"
        "    asr r8, r8, #6\n"
        "    sub r9, r9, r10\n"
        "    asr r9, r9, #4\n"
        "    sub r10, r10, r11\n"
        "    asr r10, r10, #2\n"
        ".endif\n"
        "    stmia lr!, {r8-r11}\n"
        "    ldr r2, [sp, #12]\n"
        "    cmp lr, r2\n"
        "    blo 1b\n"
        "    add sp, sp, #16\n"
        "    pop {r4-r11, pc}\n"
        ".purgem ql_mac_input\n"
        ".size " QL_NAME_TEXT ", . - " QL_NAME_TEXT "\n"
        ".text\n");
/* clang-format on */
#elif defined(__thumb__) && __ARM_ARCH_ISA_THUMB == 1
/* An input of four rows takes 14 instructions (4 and 2 bits: 17), four inputs 59 (72) with the end
 * of the loop. Bytes are loaded by an index in a register; sums stand in high registers, which ADD
 * reaches.
 *
 *   r0  weights     r3 - r6   the numbers 0 to 3     r8 - r11  sums
 *   r1  in          r7        a weight, a product    r12       an end of in
 *                   r6        of 4 and 2 bits: the same
 *   r2  an input                                     lr        acc
 *   sp  bias, in, its end, the end of its whole fours, the end of acc */
/* clang-format off */
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text." QL_NAME_TEXT ", \"ax\", %progbits\n"
        ".global " QL_NAME_TEXT "\n"
        ".type " QL_NAME_TEXT ", %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        ".macro ql_mac_pair index, both, second\n"
        "    ldrsb r7, [r0, \\index]\n"
        "    lsls r6, r7, #28\n"
        "    asrs r6, r6, #28\n"
        "    muls r7, r2, r7\n"
        "    add \\both, r7\n"
        "    muls r6, r2, r6\n"
        "    add \\second, r6\n"
        ".endm\n"
        ".macro ql_mac_weight index, sum\n"
        "    ldrsb r7, [r0, \\index]\n"
        "    muls r7, r2, r7\n"
        "    add \\sum, r7\n"
        ".endm\n"
        ".macro ql_mac_low bits, sum\n"
        "    lsls r6, r7, #32 - \\bits\n"
        "    asrs r6, r6, #32 - \\bits\n"
        "    muls r6, r2, r6\n"
        "    add \\sum, r6\n"
        ".endm\n"
        ".macro ql_mac_input index\n"
        "    " QL_LOAD " r2, [r1, \\index]\n"
        ".if " QL_TEXT(QL_BITS) " == 4\n"
        "    ql_mac_pair r3, r8, r9\n"
        "    ql_mac_pair r4, r10, r11\n"
        "    adds r0, #2\n"
        ".elseif " QL_TEXT(QL_BITS) " == 2\n"
        "    ldrsb r7, [r0, r3]\n"
        "    ql_mac_low 6, r9\n"
        "    ql_mac_low 4, r10\n"
        "    ql_mac_low 2, r11\n"
        "    muls r7, r2, r7\n"
        "    add r8, r7\n"
        "    adds r0, #1\n"
        ".else\n"
        "    ql_mac_weight r3, r8\n"
        "    ql_mac_weight r4, r9\n"
        "    ql_mac_weight r5, r10\n"
        "    ql_mac_weight r6, r11\n"
        "    adds r0, #4\n"
        ".endif\n"
        ".endm\n"
        ".macro ql_mac_four_inputs\n"
        ".if " QL_LOG2_BYTES "\n"
        "    ql_mac_input r3\n"
        "    ql_mac_input r5\n"
        "    adds r1, #4\n"
        "    ql_mac_input r3\n"
        "    ql_mac_input r5\n"
        "    adds r1, #4\n"
        ".elseif " QL_TEXT(QL_BITS) " == 8\n"
        "    ql_mac_input r3\n"
        "    ql_mac_input r4\n"
        "    ql_mac_input r5\n"
        "    ql_mac_input r6\n"
        "    adds r1, #4\n"
        ".else\n"
        "    ql_mac_input r3\n"
        "    ql_mac_input r4\n"
        "    adds r1, #2\n"
        "    ql_mac_input r3\n"
        "    ql_mac_input r4\n"
        "    adds r1, #2\n"
        ".endif\n"
        ".endm\n"
        QL_NAME_TEXT ":\n"
        "    push {r4-r7, lr}\n"
        "    mov r4, r8\n"
        "    mov r5, r9\n"
        "    mov r6, r10\n"
        "    mov r7, r11\n"
        "    push {r4-r7}\n"
        "    ldr r7, [sp, #40]\n"
        "    mov lr, r7\n"
        "    ldr r4, [sp, #36]\n"
        "    lsls r4, r4, #2\n"
        "    adds r7, r7, r4\n"
        "    lsls r5, r3, #" QL_LOG2_BYTES "\n"
        "    adds r5, r2, r5\n"
        "    lsrs r6, r3, #2\n"
        "    lsls r6, r6, #2 + " QL_LOG2_BYTES "\n"
        "    adds r6, r2, r6\n"
        "    push {r1, r2, r5, r6, r7}\n"
        "1:  ldr r1, [sp]\n"
        "    ldmia r1!, {r2-r5}\n"
        "    str r1, [sp]\n"
        ".if " QL_TEXT(QL_BITS) " == 4\n"
        "    lsls r2, r2, #4\n"
        "    adds r2, r2, r3\n"
        "    lsls r4, r4, #4\n"
        "    adds r4, r4, r5\n"
        ".elseif " QL_TEXT(QL_BITS) " == 2\n"
        "    lsls r4, r4, #2\n"
        "    adds r4, r4, r5\n"
        "    lsls r3, r3, #4\n"
        "    adds r3, r3, r4\n"
        "    lsls r2, r2, #6\n"
        "    adds r2, r2, r3\n"
        ".endif\n"
        "    mov r8, r2\n"
        "    mov r9, r3\n"
        "    mov r10, r4\n"
        "    mov r11, r5\n"
        "    movs r3, #0\n"
        "    movs r4, #1\n"
        "    movs r5, #2\n"
        "    movs r6, #3\n"
        "    ldr r1, [sp, #4]\n"
        "    ldr r2, [sp, #12]\n"
        "    mov r12, r2\n"
        "    cmp r1, r12\n"
        "    beq 3f\n"
        "2:  ql_mac_four_inputs\n"
        "    cmp r1, r12\n"
        "    bne 2b\n"
        "3:  ldr r2, [sp, #8]\n"
        "    mov r12, r2\n"
        "    cmp r1, r12\n"
        "    beq 5f\n"
        "4:  ql_mac_input r3\n"
        "    adds r1, #1 << " QL_LOG2_BYTES "\n"
        "    cmp r1, r12\n"
        "    bne 4b\n"
        "5:  mov r2, r8\n"
        "    mov r3, r9\n"
        "    mov r4, r10\n"
        "    mov r5, r11\n"
        "    mov r1, lr\n"
        ".if " QL_TEXT(QL_BITS) " == 4\n"
        "    subs r2, r2, r3\n"
        "    asrs r2, r2, #4\n"
        "    subs r4, r4, r5\n"
        "    asrs r4, r4, #4\n"
        ".elseif " QL_TEXT(QL_BITS) " == 2\n"
        "    subs r2, r2, r3\n"
        "    asrs r2, r2, #6\n"
        "    subs r3, r3, r4\n"
        "    asrs r3, r3, #4\n"
        "    subs r4, r4, r5\n"
        "    asrs r4, r4, #2\n"
        ".endif\n"
        "    stmia r1!, {r2-r5}\n"
        "    mov lr, r1\n"
        "    ldr r2, [sp, #16]\n"
        "    cmp r1, r2\n"
        "    bhs 6f\n"
        "    b 1b\n" /* BLO would not reach */
        "6:  add sp, #20\n"
        "    pop {r4-r7}\n"
        "    mov r8, r4\n"
        "    mov r9, r5\n"
        "    mov r10, r6\n"
        "    mov r11, r7\n"
        "    pop {r4-r7, pc}\n"
        ".purgem ql_mac_four_inputs\n"
        ".purgem ql_mac_input\n"
        ".purgem ql_mac_low\n"
        ".purgem ql_mac_weight\n"
        ".purgem ql_mac_pair\n"
        ".size " QL_NAME_TEXT ", . - " QL_NAME_TEXT "\n"
        ".text\n");
/* clang-format on */
#else

#if QL_BITS == 8
/* The weights of four rows for one input. */
static inline const int8_t *take(const int8_t *weights, int32_t *four)
{
    for (int32_t j = 0; j < 4; j++) {
        four[j] = weights[j];
    }
    return weights + 4;
}
#elif QL_BITS == 2
/* The same of one byte: 64 * first + 16 * second + 4 * third + fourth row. */
static inline const int8_t *take(const int8_t *weights, int32_t *four)
{
    int32_t one = ((*weights & 3) ^ 2) - 2;
    int32_t two = ((*weights & 15) ^ 8) - 8;
    int32_t three = ((*weights & 63) ^ 32) - 32;
    four[0] = (*weights - three) / 64;
    four[1] = (three - two) / 16;
    four[2] = (two - one) / 4;
    four[3] = one;
    return weights + 1;
}
#else
/* The same of two bytes: 16 * first + second row. */
static inline const int8_t *take(const int8_t *weights, int32_t *four)
{
    for (int32_t j = 0; j < 4; j += 2) {
        four[j + 1] = ((*weights & 15) ^ 8) - 8;
        four[j] = (*weights - four[j + 1]) / 16;
        weights++;
    }
    return weights;
}
#endif

const int8_t *QL_NAME(const int8_t *weights, const int32_t *bias, const void *in, int32_t in_len,
                      int32_t rows, int32_t *acc)
{
    const QL_ELEMENT *values = (const QL_ELEMENT *)in;
    for (int32_t row = 0; row < rows; row += 4) {
        int32_t sums[4] = {bias[row], bias[row + 1], bias[row + 2], bias[row + 3]};
        for (int32_t i = 0; i < in_len; i++) {
            int32_t four[4];
            weights = take(weights, four);
            for (int32_t j = 0; j < 4; j++) {
                sums[j] += four[j] * values[i];
            }
        }
        for (int32_t j = 0; j < 4; j++) {
            acc[row + j] = sums[j];
        }
    }
    return weights;
}

#endif
