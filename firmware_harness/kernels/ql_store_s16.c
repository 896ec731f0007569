/* SPDX-License-Identifier: Apache-2.0 */
/* Accumulators to int16 (decision 0001); contract: ql_kernels.h. */
/* needs without an FPU: ql_round_product_wide */
#include "ql_kernels.h"
#include "ql_rescale.h"
#include "ql_round_four.h"

#include <stdbool.h>

#if defined(QL_ROUNDS_IN_HARDWARE) && defined(__ARM_FEATURE_SIMD32)
#include <string.h>

/* The same 16 bits in both halves of a word. */
static inline uint32_t twice(int32_t value)
{
    return (uint32_t)(uint16_t)value * 0x10001u;
}

/* Two sums side by side, clamped to what stands in both halves of `low` and `high`. GE tells SEL
 * which halves of a difference are not negative. */
static inline uint32_t clamp_two(int32_t first, int32_t second, uint32_t zero_point, uint32_t low,
                                 uint32_t high)
{
    uint32_t pair;
    __asm__("ssat %1, #16, %1\n\t"
            "ssat %2, #16, %2\n\t"
            "pkhbt %0, %1, %2, lsl #16\n\t"
            "qadd16 %0, %0, %3\n\t"
            "ssub16 %1, %0, %5\n\t" /* GE where it is the highest, or more */
            "sel %0, %5, %0\n\t"
            "ssub16 %1, %0, %4\n\t"
            "sel %0, %0, %4"
            : "=&r"(pair), "+&r"(first), "+&r"(second)
            : "r"(zero_point), "r"(low), "r"(high)
            : "cc");
    return pair;
}

/* Two sums that a ReLU without a zero point follows: the lesser of x and `high` is
 * x - max(x - high, 0). */
static inline uint32_t clamp_two_unsigned(int32_t first, int32_t second, uint32_t high)
{
    uint32_t pair;
    __asm__("usat %1, #16, %1\n\t"
            "usat %2, #16, %2\n\t"
            "pkhbt %0, %1, %2, lsl #16\n\t"
            "uqsub16 %1, %0, %3\n\t"
            "usub16 %0, %0, %1"
            : "=&r"(pair), "+&r"(first), "+&r"(second)
            : "r"(high)
            : "cc");
    return pair;
}

/* Stores whole fours; returns how many. */
static inline int32_t store_fours(const ql_requant *requant, const float *multiplier, int32_t count,
                                  const int32_t *acc, int16_t *results)
{
    bool is_unsigned = requant->qmin == 0 && requant->zero_point == 0;
    uint32_t zero_point = twice(requant->zero_point);
    uint32_t low = twice(requant->qmin);
    uint32_t high = twice(requant->qmax);
    int32_t left = count;
    for (; left >= QL_AT_ONCE; left -= QL_AT_ONCE) {
        int32_t rounded[QL_AT_ONCE];
        uint32_t pairs[2];
        ql_round_some(acc, multiplier, rounded);
        if (is_unsigned) {
            pairs[0] = clamp_two_unsigned(rounded[0], rounded[1], high);
            pairs[1] = clamp_two_unsigned(rounded[2], rounded[3], high);
        } else {
            pairs[0] = clamp_two(rounded[0], rounded[1], zero_point, low, high);
            pairs[1] = clamp_two(rounded[2], rounded[3], zero_point, low, high);
        }
        (void)memcpy(results, pairs, sizeof pairs);
        acc += QL_AT_ONCE;
        multiplier += QL_AT_ONCE;
        results += QL_AT_ONCE;
    }
    return count - left;
}

#else

static inline int32_t store_fours(const ql_requant *requant, const float *multiplier, int32_t count,
                                  const int32_t *acc, int16_t *results)
{
    (void)requant;
    (void)multiplier;
    (void)count;
    (void)acc;
    (void)results;
    return 0;
}

#endif

/* Whether a sum that saturates at 16 bits before the zero point is added saturates behind it. */
static inline bool has_narrow_range(const ql_requant *requant)
{
    return requant->qmax - requant->zero_point <= INT16_MAX &&
           requant->zero_point - requant->qmin <= INT16_MAX;
}

void ql_store_s16(const ql_requant *requant, int32_t first, int32_t count, const int32_t *acc,
                  void *out)
{
    const float *multiplier = &requant->multiplier[first];
    int16_t *results = (int16_t *)out + first;
    int32_t done = 0;
    if (has_narrow_range(requant)) {
        done = store_fours(requant, multiplier, count, acc, results);
    }
    for (int32_t i = done; i < count; i++) {
        int32_t rounded = ql_round_product_wide(acc[i], multiplier[i]);
        results[i] = (int16_t)ql_clamp(rounded + requant->zero_point, requant->qmin, requant->qmax);
    }
}
