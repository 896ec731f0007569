"""A board's serial port: which registers make it ready, and the C header that carries them to the
firmware.

In: the table [uart] of a board file. Out: values, and the text of `ql_uart_board.h` for
firmware_harness/ports/ql_port_uart.c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

UartKind = Literal["cmsdk", "nrf", "pl011", "stm32f4", "stm32_usart", "stm32_lpuart"]
HEADER = "ql_uart_board.h"
_NRF_STEP = 0x1000  # Nordic lists baud rate values in multiples of this


@dataclass(frozen=True, slots=True)
class Step:
    """One access to a register while the port is made ready."""

    is_wait: bool  # until the bits under the mask are the value; otherwise they are set to it
    address: int
    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class Uart:
    """A serial port as the harness uses it: polled, 8 data bits, no parity, 1 stop bit, clocks as
    after reset.
    """

    kind: UartKind
    base: int
    clock_hz: int  # the UART's own clock
    core_hz: int  # the core's clock while the harness serves over this port
    baud: int
    wiring: str  # for people: what to connect
    setup: tuple[Step, ...]

    @property
    def divisor(self) -> int:
        """What the baud rate register takes."""
        return _DIVISORS[self.kind](self.clock_hz, self.baud)

    @property
    def source(self) -> str:
        """The C file of the family, under firmware_harness/ports/uart."""
        return f"ql_uart_{'stm32' if self.kind in ('stm32_usart', 'stm32_lpuart') else self.kind}.c"


def uart_header(uart: Uart) -> str:
    """Return the C header with the port's registers."""
    setup = uart.setup or (
        Step(True, uart.base, 0, 0),
    )  # C wants at least one element: a wait for no bits
    steps = ", \\\n     ".join(
        f"{{{int(s.is_wait)}U, 0x{s.address:08X}U, 0x{s.mask:08X}U, 0x{s.value:08X}U}}"
        for s in setup
    )
    return f"""\
/* {uart.wiring}, {uart.baud} baud; written by quarl from board.toml, do not edit. */
#ifndef QL_UART_BOARD_H
#define QL_UART_BOARD_H

#define QL_UART_BASE 0x{uart.base:08X}U
#define QL_UART_DIVISOR {uart.divisor}U
#define QL_UART_SETUP \\
    {{{steps}}}

#endif
"""


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


_DIVISORS: dict[UartKind, Callable[[int, int], int]] = {
    "cmsdk": _rounded,
    "nrf": lambda clock, baud: _rounded(baud << 32, clock * _NRF_STEP) * _NRF_STEP,
    "pl011": lambda clock, baud: _rounded(4 * clock, baud),  # clock / (16 * baud) in 64ths
    "stm32f4": _rounded,
    "stm32_usart": _rounded,
    "stm32_lpuart": lambda clock, baud: _rounded(256 * clock, baud),
}
