/* SPDX-License-Identifier: Apache-2.0 */
/* Cycles of the core: DWT where there is one (Cortex-M3 and up), SysTick (24 bits) otherwise. */
#ifndef QL_TICKS_H
#define QL_TICKS_H

#include <stdint.h>

void ql_ticks_start(void);
/* Cycles since ql_ticks_start, modulo 2^32. 0 where the core has no such counter, as in emulators,
 * or where SysTick's 24 bits do not do. */
uint32_t ql_ticks_passed(void);

#endif
