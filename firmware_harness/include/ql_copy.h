/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of bytes, copied: a compiler's memcpy takes short ones byte by byte. Used by kernels only.
 */
#ifndef QL_COPY_H
#define QL_COPY_H

#include <stdint.h>
#include <string.h>

/* from and to do not overlap. */
#if defined(__ARM_FEATURE_MVE)
/* Three instructions for sixteen bytes, the last ones predicated. */
static inline void ql_copy(uint8_t *to, const uint8_t *from, int32_t count)
{
    __asm__ volatile("wlstp.8 lr, %[count], 2f\n\t"
                     "1:\n\t"
                     "vldrb.8 q0, [%[from]], #16\n\t"
                     "vstrb.8 q0, [%[to]], #16\n\t"
                     "letp lr, 1b\n\t"
                     "2:"
                     : [to] "+r"(to), [from] "+r"(from)
                     : [count] "r"(count)
                     : "lr", "q0", "memory");
}
#elif defined(__ARM_FEATURE_UNALIGNED)
/* By words, which may lie anywhere. */
static inline void ql_copy(uint8_t *to, const uint8_t *from, int32_t count)
{
    uint32_t word;
    for (; count >= (int32_t)sizeof word; count -= (int32_t)sizeof word) {
        (void)memcpy(&word, from, sizeof word);
        (void)memcpy(to, &word, sizeof word);
        from += sizeof word;
        to += sizeof word;
    }
    for (int32_t i = 0; i < count; i++) {
        to[i] = from[i];
    }
}
#else
static inline void ql_copy(uint8_t *to, const uint8_t *from, int32_t count)
{
    (void)memcpy(to, from, (size_t)count);
}
#endif

#endif
