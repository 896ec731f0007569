/* SPDX-License-Identifier: Apache-2.0 */
/* The rescale rule without an FPU, for any result (decision 0001); contract: ql_rescale.h. */
#include "ql_rescale.h"

#if defined(QL_RESCALE_INTEGER)

static uint64_t shift_half_even(uint64_t value, int32_t shift)
{
    uint64_t odd = (value >> shift) & 1U;
    return (value + (((uint64_t)1 << (shift - 1)) - 1U) + odd) >> shift;
}

/* To 24 bits, as a float holds. */
static uint64_t round_to_float(uint64_t value)
{
    int32_t excess = 0;
    for (uint64_t rest = value >> 24; rest != 0U; rest >>= 1) {
        excess++;
    }
    return excess > 0 ? shift_half_even(value, excess) << excess : value;
}

/* Replays each rounding of the float form: |acc| to 24 bits, times 24 bits, to 24 bits, to an
 * integer; all half-even. */
int32_t ql_round_product_wide(int32_t acc, float multiplier)
{
    uint32_t bits;
    (void)memcpy(&bits, &multiplier, sizeof bits);
    uint32_t magnitude = acc < 0 ? 0U - (uint32_t)acc : (uint32_t)acc;
    int32_t shift = 150 - (int32_t)(bits >> 23); /* multiplier = significand * 2^-shift */
    if (shift > 54) {
        return 0; /* below 2^31 * 2^24 * 2^-55 */
    }
    uint64_t product = round_to_float(round_to_float(magnitude) * ((bits & 0x7FFFFFU) | 0x800000U));
    int32_t result = (int32_t)shift_half_even(product, shift);
    return acc < 0 ? -result : result;
}

#else
typedef int ql_round_product_wide_unused; /* ISO C wants a declaration in every file */
#endif
