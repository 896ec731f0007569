/* SPDX-License-Identifier: Apache-2.0 */
/* Reset of a RISC-V core in machine mode: traps, stack, memory, main. Interrupts are the
 * application's business. */
#include <stdint.h>

extern uint32_t ql_data_begin[];
extern uint32_t ql_data_end[];
extern const uint32_t ql_data_load[];
extern uint32_t ql_bss_begin[];
extern uint32_t ql_bss_end[];

int main(void);
void ql_port_exit(int32_t code);
void ql_reset(void);
void ql_main(void);
void ql_fault(void);

enum { EXIT_FAULT = 99 };

/* The first instructions of the image: no stack is there yet. */
__attribute__((naked, used, section(".vectors"))) void ql_reset(void)
{
    __asm__ volatile("la t0, ql_fault\n\t"
                     ".option push\n\t"
                     ".option arch, +zicsr\n\t" /* every core has CSRs, not every -march says so */
                     "csrw mtvec, t0\n\t"
                     ".option pop\n\t"
                     "la sp, ql_stack_top\n\t"
                     "j ql_main");
}

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

__attribute__((used)) void ql_main(void)
{
    prepare_memory();
    (void)main();
    for (;;) {
    }
}

/* The CSR mtvec wants four bytes of alignment. */
__attribute__((used, aligned(4))) void ql_fault(void)
{
    ql_port_exit(EXIT_FAULT);
    for (;;) {
    }
}
