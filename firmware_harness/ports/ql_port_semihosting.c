/* SPDX-License-Identifier: Apache-2.0 */
/* The port over semihosting: a debug probe or an emulator answers a trap and moves the bytes.
 * Operations and their argument blocks: Arm, Semihosting for AArch32 and AArch64; the trap of
 * RISC-V: RISC-V International, RISC-V Semihosting, 2.1. */
#include "ql_port.h"

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { MODE_READ = 0, MODE_WRITE = 4, EXIT_BY_APPLICATION = 0x20026 };

static uint32_t input;
static uint32_t output;

#if defined(__riscv)

/* The three instructions must not be compressed, and must lie in one page. */
static uint32_t request(uint32_t operation, const uint32_t *block)
{
    register uint32_t a0 __asm__("a0") = operation;
    register const uint32_t *a1 __asm__("a1") = block;
    __asm__ volatile(".option push\n\t"
                     ".option norvc\n\t"
                     ".balign 16\n\t"
                     "slli x0, x0, 0x1f\n\t"
                     "ebreak\n\t"
                     "srai x0, x0, 7\n\t"
                     ".option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
}

#else

static uint32_t request(uint32_t operation, const uint32_t *block)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const uint32_t *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

#endif

static uint32_t open_console(uint32_t mode)
{
    static const char console[] = ":tt";
    const uint32_t block[3] = {(uint32_t)(uintptr_t)console, mode, 3U};
    return request(SYS_OPEN, block);
}

void ql_port_open(void)
{
    input = open_console(MODE_READ);
    output = open_console(MODE_WRITE);
}

int32_t ql_port_read(void *to, uint32_t count)
{
    uint8_t *at = (uint8_t *)to;
    while (count > 0U) {
        const uint32_t block[3] = {input, (uint32_t)(uintptr_t)at, count};
        uint32_t left = request(SYS_READ, block);
        if (left >= count) {
            return 0;
        }
        at += count - left;
        count = left;
    }
    return 1;
}

void ql_port_write(const void *from, uint32_t count)
{
    const uint32_t block[3] = {output, (uint32_t)(uintptr_t)from, count};
    (void)request(SYS_WRITE, block);
}

void ql_port_exit(int32_t code)
{
    const uint32_t block[2] = {EXIT_BY_APPLICATION, (uint32_t)code};
    (void)request(SYS_EXIT_EXTENDED, block);
}
