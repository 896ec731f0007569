/* SPDX-License-Identifier: Apache-2.0 */
/* Nordic's UART without EasyDMA (nRF51, nRF52840): events are cleared by writing 0; the transmitter
 * is ready when it has said so for the byte before. Pins are chosen in the board's setup. */
#include "ql_uart.h"

enum {
    STARTRX = 0x000,
    STARTTX = 0x008,
    RXDRDY = 0x108,
    TXDRDY = 0x11C,
    ENABLE = 0x500,
    RXD = 0x518,
    TXD = 0x51C,
    BAUDRATE = 0x524
};
enum { ENABLE_UART = 4 };

void ql_uart_start(uint32_t base, uint32_t divisor)
{
    QL_UART_REGISTER(base, BAUDRATE) = divisor;
    QL_UART_REGISTER(base, ENABLE) = ENABLE_UART;
    QL_UART_REGISTER(base, RXDRDY) = 0U;
    QL_UART_REGISTER(base, STARTRX) = 1U;
    QL_UART_REGISTER(base, STARTTX) = 1U;
}

uint8_t ql_uart_get(uint32_t base)
{
    while (QL_UART_REGISTER(base, RXDRDY) == 0U) {
    }
    QL_UART_REGISTER(base, RXDRDY) =
        0U; /* before the data: reading RXD may move the next byte up and raise the event again */
    return (uint8_t)QL_UART_REGISTER(base, RXD);
}

void ql_uart_put(uint32_t base, uint8_t byte)
{
    QL_UART_REGISTER(base, TXDRDY) = 0U;
    QL_UART_REGISTER(base, TXD) = byte;
    while (QL_UART_REGISTER(base, TXDRDY) == 0U) {
    }
}
