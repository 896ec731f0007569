/* SPDX-License-Identifier: Apache-2.0 */
/* Ticks of the frames' answers: nanoseconds of the monotonic clock, modulo 2^32. */
#include "ql_program.h"
#include "ql_ticks.h"

static uint64_t started_ns;

void ql_ticks_start(void)
{
    started_ns = ql_clock_ns();
}

uint32_t ql_ticks_passed(void)
{
    return (uint32_t)(ql_clock_ns() - started_ns);
}
