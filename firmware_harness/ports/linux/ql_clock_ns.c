/* SPDX-License-Identifier: Apache-2.0 */
/* The monotonic clock; contract: ql_program.h. */
#include "ql_program.h"

#include <time.h>

uint64_t ql_clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}
