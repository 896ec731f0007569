/* SPDX-License-Identifier: Apache-2.0 */
/* The port over a UART, polled: the board's registers come from ql_uart_board.h, written from
 * board.toml, the family's from one ql_uart_*.c. A byte that arrives while the core computes or
 * answers may be lost; the host waits for each answer before it asks again. */
#include "ql_uart.h"

#include "ql_port.h"
#include "ql_uart_board.h"

enum { STEP_SET = 0 };

typedef struct {
    uint32_t wait; /* STEP_SET: write value under mask; otherwise wait until the bits under mask are
                      value */
    uint32_t address;
    uint32_t mask;
    uint32_t value;
} step;

static const step steps[] = QL_UART_SETUP;

void ql_port_open(void)
{
    for (uint32_t i = 0U; i < sizeof steps / sizeof steps[0]; i++) {
        volatile uint32_t *at = (volatile uint32_t *)(uintptr_t)steps[i].address;
        if (steps[i].wait == STEP_SET) {
            *at = (*at & ~steps[i].mask) | steps[i].value;
        } else {
            while ((*at & steps[i].mask) != steps[i].value) {
            }
        }
    }
    ql_uart_start(QL_UART_BASE, QL_UART_DIVISOR);
}

int32_t ql_port_read(void *to, uint32_t count)
{
    uint8_t *at = (uint8_t *)to;
    for (uint32_t i = 0U; i < count; i++) {
        at[i] = ql_uart_get(QL_UART_BASE);
    }
    return 1;
}

void ql_port_write(const void *from, uint32_t count)
{
    const uint8_t *at = (const uint8_t *)from;
    for (uint32_t i = 0U; i < count; i++) {
        ql_uart_put(QL_UART_BASE, at[i]);
    }
}
