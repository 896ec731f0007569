"""A board's serial port: which registers make it ready, and the C header that carries them to the
firmware.

In: the table [uart] of a board file. Out: values, and the text of `ql_uart_board.h` for
firmware_harness/ports/ql_port_uart.c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from quarl.files.tables import Count, Text, Whole, table

UartKind = Literal["cmsdk", "nrf", "pl011", "stm32f4", "stm32_usart", "stm32_lpuart"]
Word = Annotated[Whole, Field(le=2**32 - 1)]
Address = Annotated[Word, Field(multiple_of=4)]
HEADER = "ql_uart_board.h"
_NRF_STEP = 0x1000  # Nordic lists baud rate values in multiples of this


@table
@dataclass(frozen=True, slots=True)
class Step:
    """One access to a register while the port is made ready."""

    mask: Annotated[Word, Field(description="the bits it is about")]
    value: Annotated[Word, Field(description="what these bits are set to, or must become")]
    set: Annotated[Address | None, Field(description="the register, to set these bits")] = None
    wait: Annotated[Address | None, Field(description="the register, to wait for these bits")] = (
        None
    )

    def __post_init__(self) -> None:
        if (self.set is None) == (self.wait is None):
            raise ValueError("has set and wait, or neither; allowed: one of the two")
        if self.value & ~self.mask:
            raise ValueError(f"value 0x{self.value:X} does not lie under mask 0x{self.mask:X}")

    @property
    def is_wait(self) -> bool:
        """Whether it waits for the bits; otherwise it sets them."""
        return self.wait is not None

    @property
    def address(self) -> int:
        """The register."""
        address = self.set if self.wait is None else self.wait
        assert address is not None, "checked when the step was made"
        return address


@table
@dataclass(frozen=True, slots=True)
class Uart:
    """A serial port as the harness uses it: polled, 8 data bits, no parity, 1 stop bit, clocks as
    after reset.
    """

    kind: Annotated[UartKind, Field(description="the family, which has a driver in the harness")]
    base: Annotated[Word, Field(description="address of its registers")]
    clock_hz: Annotated[Count, Field(description="the UART's own clock")]
    baud: Annotated[Count, Field(description="bits a second")]
    wiring: Annotated[Text, Field(description="for people: what to connect")]
    setup: Annotated[tuple[Step, ...], Field(description="register accesses before the first byte")]
    core_hz: Annotated[
        Count | None,
        Field(description="the core's clock while the harness serves; absent: clock_hz"),
    ] = None

    @property
    def core_clock_hz(self) -> int:
        """The core's clock while the harness serves over this port."""
        return self.clock_hz if self.core_hz is None else self.core_hz

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
    nothing = Step(mask=0, value=0, wait=uart.base)  # C wants at least one element
    setup = uart.setup or (nothing,)
    steps = ", \\\n     ".join(
        f"{{{int(s.is_wait)}U, 0x{s.address:08X}U, 0x{s.mask:08X}U, 0x{s.value:08X}U}}"
        for s in setup
    )
    return f"""\
/* SPDX-License-Identifier: Apache-2.0 */
/* {uart.wiring}, {uart.baud} baud.
 * Written by quarl from board.toml, do not edit. */
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
