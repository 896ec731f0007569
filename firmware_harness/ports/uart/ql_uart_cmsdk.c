/* SPDX-License-Identifier: Apache-2.0 */
/* Arm's CMSDK UART (APB UART, Cortex-M System Design Kit TRM, DDI 0479), as on the MPS2 and MPS3.
 */
#include "ql_uart.h"

enum { DATA = 0x00, STATE = 0x04, CTRL = 0x08, BAUDDIV = 0x10 };
enum { STATE_TX_FULL = 1, STATE_RX_FULL = 2, CTRL_TX_RX = 3 };

void ql_uart_start(uint32_t base, uint32_t divisor)
{
    QL_UART_REGISTER(base, BAUDDIV) = divisor;
    QL_UART_REGISTER(base, CTRL) = CTRL_TX_RX;
}

uint8_t ql_uart_get(uint32_t base)
{
    while ((QL_UART_REGISTER(base, STATE) & STATE_RX_FULL) == 0U) {
    }
    return (uint8_t)QL_UART_REGISTER(base, DATA);
}

void ql_uart_put(uint32_t base, uint8_t byte)
{
    while ((QL_UART_REGISTER(base, STATE) & STATE_TX_FULL) != 0U) {
    }
    QL_UART_REGISTER(base, DATA) = byte;
}
