/* SPDX-License-Identifier: Apache-2.0 */
/* Two rows by two lanes with SMLAD (decision 0001); contract: ql_kernels_dsp.h. */
#include "ql_kernels_dsp.h"

/* Sixteen multiply-accumulates (four inputs, two rows, two lanes) take 14 instructions. */
#if defined(__ARM_FEATURE_DSP)
_Static_assert(QL_CHUNK == 32, "the second lane's sums stand 128 bytes on");
__asm__(".syntax unified\n"
        ".thumb\n"
        ".section .text.ql_mac_lanes_dsp, \"ax\", %progbits\n"
        ".global ql_mac_lanes_dsp\n"
        ".type ql_mac_lanes_dsp, %function\n"
        ".thumb_func\n"
        ".balign 4\n"
        "ql_mac_lanes_dsp:\n"
        "    push {r4-r11, lr}\n"
        "    push {r1-r3}\n" /* sp: bias, in, steps; 48: pairs, 52: acc */
        "1:  ldr r7, [sp]\n"
        "    ldr r1, [sp, #4]\n"
        "    ldr r2, [sp, #8]\n"
        "    ldr r3, [r7], #4\n"
        "    ldr r5, [r7], #4\n"
        "    str r7, [sp]\n"
        "    mov r4, r3\n"
        "    mov r6, r5\n"
        "    lsrs r2, r2, #1\n"
        "    adc r2, r2, #0\n"
        "    bcs 3f\n" /* an odd step more: enter the loop in the middle */
        ".macro ql_mac_lanes_dsp_four\n"
        "    ldmia r0!, {r7, r8}\n"
        "    ldmia r1!, {r9-r12}\n"
        "    sxtb16 lr, r7\n"
        "    sxtb16 r7, r7, ror #8\n"
        "    smlad r3, lr, r9, r3\n"
        "    smlad r4, lr, r10, r4\n"
        "    sxtb16 lr, r8\n"
        "    smlad r3, r7, r11, r3\n"
        "    smlad r4, r7, r12, r4\n"
        "    sxtb16 r8, r8, ror #8\n"
        "    smlad r5, lr, r9, r5\n"
        "    smlad r6, lr, r10, r6\n"
        "    smlad r5, r8, r11, r5\n"
        "    smlad r6, r8, r12, r6\n"
        ".endm\n"
        "2:  ql_mac_lanes_dsp_four\n"
        "    ql_mac_lanes_dsp_four\n"
        "3:  ql_mac_lanes_dsp_four\n"
        "    ql_mac_lanes_dsp_four\n"
        "    subs r2, r2, #1\n"
        "    bne 2b\n"
        "    ldr r1, [sp, #52]\n"
        "    ldr r2, [sp, #48]\n"
        "    strd r4, r6, [r1, #128]\n"
        "    strd r3, r5, [r1], #8\n"
        "    str r1, [sp, #52]\n"
        "    subs r2, r2, #1\n"
        "    str r2, [sp, #48]\n"
        "    bne 1b\n"
        "    add sp, sp, #12\n"
        "    pop {r4-r11, pc}\n"
        ".purgem ql_mac_lanes_dsp_four\n"
        ".size ql_mac_lanes_dsp, . - ql_mac_lanes_dsp\n"
        ".text\n");
#elif defined(__arm__)
#error "quarl: SMLAD is off in this compiler; turn it on, or export for a board without it"
#else
const int8_t *ql_mac_lanes_dsp(const int8_t *weights, const int32_t *bias, const int16_t *in,
                               int32_t steps, int32_t pairs, int32_t *acc)
{
    for (int32_t row = 0; row < 2 * pairs; row++) {
        const int8_t *fours = &weights[(row >> 1) * 2 * QL_STEP * steps + 4 * (row & 1)];
        for (int32_t lane = 0; lane < 2; lane++) {
            int32_t sum = bias[row];
            for (int32_t position = 0; position < QL_STEP * steps; position++) {
                sum += fours[(position >> 2) * 8 + (position & 3)] *
                       in[ql_spread_index(position, 2) + 2 * lane];
            }
            acc[lane * QL_CHUNK + row] = sum;
        }
    }
    return &weights[2 * pairs * QL_STEP * steps];
}
#endif
