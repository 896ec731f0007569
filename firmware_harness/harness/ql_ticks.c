/* SPDX-License-Identifier: Apache-2.0 */
/* Cycles of the core; contract: ql_ticks.h. */
#include "ql_ticks.h"

#if defined(__riscv)

static uint32_t start;

static uint32_t cycles(void)
{
    uint32_t value;
    __asm__ volatile(".option push\n\t"
                     ".option arch, +zicsr\n\t" /* every core has CSRs, not every -march says so */
                     "csrr %0, mcycle\n\t"
                     ".option pop"
                     : "=r"(value));
    return value;
}

void ql_ticks_start(void)
{
    start = cycles();
}

uint32_t ql_ticks_passed(void)
{
    return cycles() - start;
}

#else

#define REGISTER(address) (*(volatile uint32_t *)(address))

/* QL_TICKS_BY_SYSTICK: even where there is DWT, for emulators that have SysTick only */
/* DWT is not on Armv6-M and Armv8-M Baseline */
#if !defined(QL_TICKS_BY_SYSTICK) && __ARM_ARCH_ISA_THUMB == 2

#define DEMCR REGISTER(0xE000EDFCU)
#define DWT_CTRL REGISTER(0xE0001000U)
#define DWT_CYCCNT REGISTER(0xE0001004U)

void ql_ticks_start(void)
{
    DEMCR |= 1U << 24; /* TRCENA */
    DWT_CTRL |= 1U;    /* CYCCNTENA */
    DWT_CYCCNT = 0U;
}

uint32_t ql_ticks_passed(void)
{
    return DWT_CYCCNT;
}

#else

#define SYST_CSR REGISTER(0xE000E010U)
#define SYST_RVR REGISTER(0xE000E014U)
#define SYST_CVR REGISTER(0xE000E018U)

enum { COUNTFLAG = 1 << 16 }; /* it has come to 0 since it was last looked at */

void ql_ticks_start(void)
{
    SYST_RVR = 0x00FFFFFFU;
    SYST_CVR = 0U;
    SYST_CSR = 5U; /* the core's clock, no interrupt */
}

uint32_t ql_ticks_passed(void)
{
    uint32_t value = SYST_CVR;
    return value == 0U || (SYST_CSR & COUNTFLAG) != 0U ? 0U : 0x00FFFFFFU - value;
}

#endif

#endif
