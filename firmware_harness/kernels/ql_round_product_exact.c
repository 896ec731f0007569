#include "ql_rescale.h"

#if defined(QL_RESCALE_INTEGER)

static int32_t bit_length(uint64_t value)
{
    uint32_t high = (uint32_t)(value >> 32);
    uint32_t word = high != 0U ? high : (uint32_t)value;
    int32_t length = high != 0U ? 32 : 0;
    while (word != 0U) {
        word >>= 1;
        length++;
    }
    return length;
}

static uint64_t shift_half_even(uint64_t value, int32_t shift)
{
    uint64_t odd = (value >> shift) & 1U;
    return (value + (((uint64_t)1 << (shift - 1)) - 1U) + odd) >> shift;
}

static uint64_t round_to_float(uint64_t value)
{
    int32_t excess = bit_length(value) - 24;
    return excess > 0 ? shift_half_even(value, excess) << excess : value;
}

int32_t ql_round_product_exact(uint32_t magnitude, uint32_t significand, int32_t shift)
{
    uint64_t product = round_to_float(round_to_float(magnitude) * significand);
    return (int32_t)shift_half_even(product, shift);
}

#else
typedef int ql_round_product_exact_unused; /* ISO C wants a declaration in every file */
#endif
