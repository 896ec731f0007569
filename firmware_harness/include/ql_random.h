/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers for policies whose actions are drawn: PCG32 (M. O'Neill, HMC-CS-2014-0905).
 * Not for secrets: who sees a few numbers can tell the rest. */
#ifndef QL_RANDOM_H
#define QL_RANDOM_H

#include <stdint.h>

/* One generator; the caller owns it, and seeds it at the start of each episode. */
typedef struct {
    uint64_t state;
} ql_random;

/* Starts the numbers of a seed: equal seeds give equal numbers on every target. */
void ql_random_seed(ql_random *random, uint64_t seed);

/* The next number, each of 0 to 2^32 - 1 alike. */
uint32_t ql_random_next(ql_random *random);

#endif
