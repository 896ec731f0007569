/* SPDX-License-Identifier: Apache-2.0 */
/* ST's first USART (STM32F1, F2, F4: RM0383 chapter 19): one data register for both ways. Reading
 * SR, then DR clears an overrun. */
#include "ql_uart.h"

enum { SR = 0x00, DR = 0x04, BRR = 0x08, CR1 = 0x0C };
enum { SR_RXNE = 1 << 5, SR_TXE = 1 << 7, CR1_ENABLE_TX_RX = 1 << 13 | 1 << 3 | 1 << 2 };

void ql_uart_start(uint32_t base, uint32_t divisor)
{
    QL_UART_REGISTER(base, BRR) = divisor;
    QL_UART_REGISTER(base, CR1) = CR1_ENABLE_TX_RX;
}

uint8_t ql_uart_get(uint32_t base)
{
    while ((QL_UART_REGISTER(base, SR) & SR_RXNE) == 0U) {
    }
    return (uint8_t)QL_UART_REGISTER(base, DR);
}

void ql_uart_put(uint32_t base, uint8_t byte)
{
    while ((QL_UART_REGISTER(base, SR) & SR_TXE) == 0U) {
    }
    QL_UART_REGISTER(base, DR) = byte;
}
