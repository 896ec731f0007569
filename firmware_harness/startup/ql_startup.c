/* SPDX-License-Identifier: Apache-2.0 */
/* Reset: FPU on, memory prepared, main. Vectors beyond the system's own are the application's
 * business. */
#include <stdint.h>

extern uint32_t ql_stack_top[];
extern uint32_t ql_data_begin[];
extern uint32_t ql_data_end[];
extern const uint32_t ql_data_load[];
extern uint32_t ql_bss_begin[];
extern uint32_t ql_bss_end[];

int main(void);
void ql_port_exit(int32_t code);
void ql_reset(void);

enum { SYSTEM_VECTORS = 16, EXIT_FAULT = 99 };

/* The words are volatile so that no compiler makes a call of memcpy from a loop that must run
 * before anything else. */
static void prepare_memory(void)
{
    const volatile uint32_t *from = ql_data_load;
    for (volatile uint32_t *to = ql_data_begin; to < ql_data_end; to++) {
        *to = *from;
        from++;
    }
    for (volatile uint32_t *to = ql_bss_begin; to < ql_bss_end; to++) {
        *to = 0U;
    }
}

void ql_reset(void)
{
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88U |= 0xFU << 20; /* CPACR: full access to CP10 and CP11 */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    uint32_t mode;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(mode));
    mode &= ~(0xFU << 22); /* round to nearest even, subnormals kept; the rest is the core's,
                              LTPSIZE of an M55 for instance */
    __asm__ volatile("vmsr fpscr, %0" ::"r"(mode));
#endif
    prepare_memory();
    (void)main();
    for (;;) {
    }
}

static void fault(void)
{
    ql_port_exit(EXIT_FAULT);
    for (;;) {
    }
}

typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack_top;
    vector handlers[SYSTEM_VECTORS - 1];
} vectors = {
    ql_stack_top,
    {ql_reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault}};
