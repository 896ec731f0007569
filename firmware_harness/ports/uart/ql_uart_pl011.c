/* SPDX-License-Identifier: Apache-2.0 */
/* Arm's PrimeCell UART PL011 (DDI 0183), as in the RP2040 and RP2350. The divisor is in 64ths: the
 * fraction's 6 bits are its lowest. */
#include "ql_uart.h"

enum { DR = 0x000, FR = 0x018, IBRD = 0x024, FBRD = 0x028, LCR_H = 0x02C, CR = 0x030 };
enum {
    FR_RX_EMPTY = 1 << 4,
    FR_TX_FULL = 1 << 5,
    LCR_8_BITS_FIFO = 7 << 4,
    CR_ENABLE_TX_RX = 1 | 3 << 8,
    FRACTION_BITS = 6
};

void ql_uart_start(uint32_t base, uint32_t divisor)
{
    QL_UART_REGISTER(base, CR) = 0U;
    QL_UART_REGISTER(base, IBRD) = divisor >> FRACTION_BITS;
    QL_UART_REGISTER(base, FBRD) = divisor & ((1U << FRACTION_BITS) - 1U);
    QL_UART_REGISTER(base, LCR_H) = LCR_8_BITS_FIFO; /* the write that makes the divisor count */
    QL_UART_REGISTER(base, CR) = CR_ENABLE_TX_RX;
}

uint8_t ql_uart_get(uint32_t base)
{
    while ((QL_UART_REGISTER(base, FR) & FR_RX_EMPTY) != 0U) {
    }
    return (uint8_t)QL_UART_REGISTER(base, DR);
}

void ql_uart_put(uint32_t base, uint8_t byte)
{
    while ((QL_UART_REGISTER(base, FR) & FR_TX_FULL) != 0U) {
    }
    QL_UART_REGISTER(base, DR) = byte;
}
