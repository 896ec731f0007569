/* SPDX-License-Identifier: Apache-2.0 */
/* The rescale rule without an FPU, for int8 results (decision 0001); contract: ql_rescale.h. */
/* needs without an FPU: ql_round_product_wide */
#include "ql_rescale.h"

#if defined(QL_RESCALE_INTEGER)

/* The high word of a * b, a < 2^31. */
static uint32_t high_word(uint32_t a, uint32_t b)
{
#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB == 1
    /* no long multiply: four of 16 bits */
    uint32_t low = (a & 0xFFFFU) * (b & 0xFFFFU);
    uint32_t first = (a >> 16) * (b & 0xFFFFU) + (low >> 16); /* a < 2^31: no carry is lost */
    __asm__("" : "+l"(first)); /* or clang sees a long multiply here and calls one */
    uint32_t second = (a & 0xFFFFU) * (b >> 16) + (first & 0xFFFFU);
    return (a >> 16) * (b >> 16) + (first >> 16) + (second >> 16);
#else
    return (uint32_t)(((uint64_t)a * b) >> 32);
#endif
}

/* Rounds the exact product unless it lies so near a tie that the float roundings could matter. */
int32_t ql_round_product(int32_t acc, float multiplier)
{
    uint32_t bits;
    (void)memcpy(&bits, &multiplier, sizeof bits);
    int32_t shift =
        126 - (int32_t)(bits >> 23); /* product = high word of |acc| * significand, >> shift */
    if (shift > 30) {
        return 0; /* below 2^31 * 2^-32 */
    }
    if (shift < 1) {
        return ql_round_product_wide(acc, multiplier);
    }
    uint32_t magnitude = acc < 0 ? 0U - (uint32_t)acc : (uint32_t)acc;
    uint32_t high =
        high_word(magnitude, (bits << 8) | 0x80000000U); /* the significand's 24 bits at the top */
    uint32_t half = 1U << (shift - 1);
    /* The float roundings move a product below 2^9 by less than 2^-14. */
    uint32_t near = (half >> 13) + 1U;
    if (((high - half + near) & (half + half - 1U)) <= near + near) {
        return ql_round_product_wide(acc, multiplier);
    }
    uint32_t result = (high + half) >> shift;
    return acc < 0 ? -(int32_t)result : (int32_t)result;
}

#else
typedef int ql_round_product_unused; /* ISO C wants a declaration in every file */
#endif
