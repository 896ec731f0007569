/* SPDX-License-Identifier: Apache-2.0 */
/* What a family of UARTs must supply: 8 data bits, no parity, 1 stop bit, no flow control. */
#ifndef QL_UART_H
#define QL_UART_H

#include <stdint.h>

#define QL_UART_REGISTER(base, offset) (*(volatile uint32_t *)(uintptr_t)((base) + (offset)))

/* The divisor is what the family's baud rate register takes; quarl/boards.py computes it from clock
 * and baud rate. */
void ql_uart_start(uint32_t base, uint32_t divisor);

/* Waits for a byte. */
uint8_t ql_uart_get(uint32_t base);

/* Waits until there is room, then sends. */
void ql_uart_put(uint32_t base, uint8_t byte);

#endif
