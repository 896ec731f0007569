"""A board through its debug probe: the harness asks by semihosting, and this host answers.

In: a core that a debugger holds, running a firmware with the semihosting port. Out: the bytes of
the harness, as from a serial port. No pins but the probe's are needed. A core that hangs is halted
and its registers are shown; so is one that stops anywhere but at a request.
Operations: Arm, Semihosting for AArch32 and AArch64.
"""

from __future__ import annotations

import struct
import time
from enum import IntEnum
from typing import Protocol

from quarl.errors import DeviceError
from quarl.links.isa import ARM, shown

MODE_READ = 0
INPUT, OUTPUT = 1, 2  # handles of the console
FAULT_CODE = 99  # what firmware_harness/startup ends with on a fault
WAIT_S = 0.05  # for the core to stop, before the caller may look at the time
HANG_S = 15.0  # without a request: a large network on a slow clock takes seconds
MOST_BYTES = 1 << 20  # of one request
TRAP_BYTES = len(ARM.trap)


class Operation(IntEnum):
    """What the harness asks for."""

    OPEN = 0x01
    WRITE = 0x05
    READ = 0x06
    EXIT_EXTENDED = 0x20


class DebugCore(Protocol):
    """What a debugger does with a core. Registers have GDB's names: r0 to r12, sp, lr, pc."""

    def resume(self) -> None:
        """Let it run."""

    def halt(self) -> None:
        """Stop it."""

    def is_halted(self, wait_s: float) -> bool:
        """Return whether it has stopped, or stops within this time."""

    def register(self, name: str) -> int:
        """Return a register of the halted core."""

    def set_register(self, name: str, value: int) -> None:
        """Set a register of the halted core."""

    def read(self, address: int, count: int) -> bytes:
        """Return bytes of its memory."""

    def write(self, address: int, data: bytes) -> None:
        """Write bytes into its memory."""


class SemihostingPort:
    """The bytes of the harness. The core runs while somebody reads, and no longer."""

    def __init__(self, core: DebugCore, where: str, hang_s: float = HANG_S) -> None:
        """Take a core that is halted at the start of the firmware."""
        self._core, self._where, self._hang_s = core, where, hang_s
        self._pending = b""  # for the device
        self._said = b""  # by it
        self._wants = False  # it stands at a request for bytes, and there are none
        self._since: float | None = None  # when it was let run; None: it is halted

    @property
    def in_waiting(self) -> int:
        """Bytes that have come and not been read."""
        return len(self._said)

    def write(self, data: bytes, /) -> None:
        """Keep bytes until the device asks for them."""
        self._pending += data

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none where the device says nothing for now.

        Raises:
            DeviceError: it hangs, faults or ends; its registers are in the message.
        """
        if not self._said:
            self._run()
        part, self._said = self._said[:size], self._said[size:]
        return part

    def _run(self) -> None:
        """Let the core run until it says something, wants bytes, or takes longer than WAIT_S."""
        if self._wants and not self._pending:
            time.sleep(WAIT_S)
            return
        if self._wants:
            self._answer()
        while not self._said and not self._wants:
            if self._since is None:
                self._core.resume()
                self._since = time.monotonic()
            if not self._core.is_halted(WAIT_S):
                self._check_hang(self._since)
                return
            self._since = None
            self._answer()

    def _check_hang(self, since: float) -> None:
        if time.monotonic() - since < self._hang_s:
            return
        self._core.halt()
        raise DeviceError(
            f"{self._where}: the firmware did not answer within {self._hang_s:g} s; "
            f"{self._registers()}"
        )

    def _answer(self) -> None:
        """Answer the request that the core stands at, and step over it."""
        pc = self._core.register("pc")
        if self._core.read(pc, TRAP_BYTES) != ARM.trap:
            raise DeviceError(f"{self._where}: the core has stopped; {self._registers()}")
        operation, block = self._core.register("r0"), self._core.register("r1")
        words = struct.unpack("<3I", self._core.read(block, 12))
        match operation:
            case Operation.OPEN:
                result = INPUT if words[1] == MODE_READ else OUTPUT
            case Operation.WRITE:
                self._said += self._bytes_of(words[1], words[2])
                result = 0
            case Operation.READ:
                given = self._pending[: words[2]]
                self._wants = not given
                if not given:
                    return
                self._pending = self._pending[len(given) :]
                self._core.write(words[1], given)
                result = words[2] - len(given)
            case Operation.EXIT_EXTENDED:
                code = words[1]
                why = "faulted" if code == FAULT_CODE else f"ended with code {code}"
                raise DeviceError(f"{self._where}: the firmware {why}; {self._registers()}")
            case _:
                raise DeviceError(
                    f"{self._where}: semihosting operation 0x{operation:02x}, which the harness "
                    f"never asks for; {self._registers()}"
                )
        self._core.set_register("r0", result)
        self._core.set_register("pc", pc + TRAP_BYTES)

    def _bytes_of(self, address: int, count: int) -> bytes:
        if count > MOST_BYTES:
            raise DeviceError(
                f"{self._where}: the firmware sends {count:,} bytes at once, at most "
                f"{MOST_BYTES:,} are taken; {self._registers()}"
            )
        return self._core.read(address, count)

    def _registers(self) -> str:
        return shown(ARM, {name: self._core.register(name) for name in ARM.shown})
