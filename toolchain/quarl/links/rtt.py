"""A board through its debug probe while its core runs: two rings of bytes in its RAM (RTT).

In: the channels that pyOCD finds in the firmware's control block, and the core. Out: the bytes of
the harness, as from a serial port. Nothing is halted but a core that no longer answers, whose
registers are then shown. Layout: firmware_harness/ports/ql_port_rtt.c.
"""

from __future__ import annotations

import time
from typing import Protocol

from quarl.errors import DeviceError
from quarl.links.isa import ARM, shown
from quarl.links.semihosting import HANG_S, DebugCore

CONTROL_BLOCK = "ql_rtt"  # its name in the firmware
READ_S = 0.05  # how long a read waits for the first byte
POLL_S = 0.001


class UpChannel(Protocol):
    """Bytes from the device; pyOCD's RTTUpChannel is one."""

    def read(self) -> bytes:
        """Return all that is there."""


class DownChannel(Protocol):
    """Bytes to the device; pyOCD's RTTDownChannel is one."""

    def write(self, data: bytes) -> int:
        """Put as much into the ring as fits; return how many bytes."""


class RttPort:
    """The bytes of the harness, moved while the core runs."""

    def __init__(
        self,
        core: DebugCore,
        channels: tuple[UpChannel, DownChannel],
        where: str,
        hang_s: float = HANG_S,
    ) -> None:
        """Take a core that runs."""
        self._core, self._where, self._hang_s = core, where, hang_s
        self._up, self._down = channels
        self._pending = b""  # for the device, what its ring has no room for yet
        self._said = b""  # by it
        self._asked: float | None = None  # since when an answer is due

    @property
    def in_waiting(self) -> int:
        """Bytes that have come and not been read."""
        return len(self._said)

    def write(self, data: bytes, /) -> None:
        """Send bytes, the first ones at once."""
        self._pending += data
        self._asked = time.monotonic()
        self._push()

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none where nothing comes within READ_S.

        Raises:
            DeviceError: a request has had no answer for `hang_s`; the core's registers are in the
                message.
        """
        end = time.monotonic() + READ_S
        while not self._said and time.monotonic() < end:
            self._push()
            self._said = bytes(self._up.read())
            if not self._said:
                time.sleep(POLL_S)
        if self._said:
            self._asked = None
        elif self._asked is not None and time.monotonic() - self._asked > self._hang_s:
            self._stop()
        part, self._said = self._said[:size], self._said[size:]
        return part

    def _push(self) -> None:
        if self._pending:
            self._pending = self._pending[self._down.write(self._pending) :]

    def _stop(self) -> None:
        self._core.halt()
        registers = shown(ARM, {name: self._core.register(name) for name in ARM.shown})
        raise DeviceError(
            f"{self._where}: the firmware did not answer within {self._hang_s:g} s; {registers}"
        )
