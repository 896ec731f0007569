/* SPDX-License-Identifier: Apache-2.0 */
/* ST's later USART and LPUART (STM32L4, L4+, H7, U5: RM0432, RM0433, RM0455, RM0456): own registers
 * for each way. */
#include "ql_uart.h"

enum { CR1 = 0x00, CR3 = 0x08, BRR = 0x0C, ISR = 0x1C, RDR = 0x24, TDR = 0x28 };
enum {
    ISR_RXNE = 1 << 5,
    ISR_TXE = 1 << 7,
    CR1_ENABLE_TX_RX = 1 << 3 | 1 << 2 | 1,
    CR3_NO_OVERRUN = 1 << 12
};

void ql_uart_start(uint32_t base, uint32_t divisor)
{
    QL_UART_REGISTER(base, CR3) = CR3_NO_OVERRUN; /* a byte that comes too early replaces the one
                                                     before; the frame's CRC tells */
    QL_UART_REGISTER(base, BRR) = divisor;
    QL_UART_REGISTER(base, CR1) = CR1_ENABLE_TX_RX;
}

uint8_t ql_uart_get(uint32_t base)
{
    while ((QL_UART_REGISTER(base, ISR) & ISR_RXNE) == 0U) {
    }
    return (uint8_t)QL_UART_REGISTER(base, RDR);
}

void ql_uart_put(uint32_t base, uint8_t byte)
{
    while ((QL_UART_REGISTER(base, ISR) & ISR_TXE) == 0U) {
    }
    QL_UART_REGISTER(base, TDR) = byte;
}
