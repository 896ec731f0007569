"""Microcontroller cores in the unicorn emulator: real firmware, the harness's own protocol over
semihosting, exact instruction counts.

Emulated, not timed: unicorn executes instructions, it has no pipeline and no clock. Which cores it
has is said in `quarl.boards.cores`.
"""

from __future__ import annotations

import struct
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.boards.microcontroller import Board
from quarl.errors import DeviceError
from quarl.firmware.elf import Image
from quarl.firmware.interface import Interface
from quarl.links.answers import (
    TICKS,
    actions_of,
    identity_from,
    input_payloads,
    observation_payloads,
    outputs_of,
)
from quarl.links.count import Block, Count, merged
from quarl.links.emulated_core import PAINT, EmulatedCore
from quarl.links.frames import Frame, Kind, pack_frame, payload_of, take_frame
from quarl.links.isa import decoder, shown

TIMEOUT_S = 120
MOST_BYTES = 1 << 16  # of one answer
FAULT_CODE = 99  # what firmware_harness/startup ends with on a fault
SYS_OPEN, SYS_WRITE, SYS_READ, SYS_EXIT_EXTENDED = 0x01, 0x05, 0x06, 0x20


class UnicornDevice:
    """A firmware image, booted. Answers like the other runtimes: `run` and `infer`."""

    def __init__(
        self, image: Image, board: Board, interface: Interface, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._core = EmulatedCore(image, board)
        self.image, self.interface, self._board = image, interface, board
        self._timeout_s = timeout_s
        self._to_device = b""
        self._from_device = b""
        self._exit_code: int | None = None
        self._sends_without_end = False
        self._core.on_trap(self._on_trap)
        self._identity = identity_from(self._ask("I", b""))

    @property
    def emulator(self) -> str:
        """Name and version of the emulator."""
        return f"unicorn {version('unicorn')}"

    @property
    def place(self) -> str:
        """Where it runs, for people."""
        return f"in {self.emulator}"

    def run(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs [n, count] for the graph's integers [n, ...]."""
        return outputs_of(
            self.interface,
            [self._ask("R", payload) for payload in input_payloads(self.interface, inputs)],
        )

    def infer(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs [n, count] of a batch."""
        return self.run(inputs)

    def act(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return the actions for vector observations [n, features] in environment units, quantised
        on the device.
        """
        return actions_of(
            self.interface,
            [
                self._ask("A", payload)[TICKS.size :]
                for payload in observation_payloads(self.interface, obs)
            ],
        )

    def decisions(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the actions for the graph's integers [n, ...], decoded on the device."""
        start = TICKS.size + self._identity.output_bytes
        return actions_of(
            self.interface,
            [self._ask("R", payload)[start:] for payload in input_payloads(self.interface, inputs)],
        )

    def count_calls(self, inputs: NDArray[Any]) -> tuple[Count, ...]:
        """Return what each of the program's calls executes in one inference of inputs [1, ...], in
        order.

        The few instructions of `ql_policy_infer` itself are counted with the call they prepare, its
        return with the last.
        """
        *calls, end = self._counted(
            "R", input_payloads(self.interface, inputs)[0], self.interface.names.symbol("infer")
        )
        assert len(calls) == len(self.interface.calls), (
            "each call of ql_policy_infer ends in a block of its own"
        )
        return (*calls[:-1], merged([calls[-1], end]))

    def count_act(self, obs: NDArray[Any]) -> Count:
        """Return what `ql_policy_act` executes for one vector observation [features]."""
        return merged(
            self._counted(
                "A",
                observation_payloads(self.interface, obs[None])[0],
                self.interface.names.symbol("act"),
            )
        )

    def stack_bytes(self) -> int:
        """Return the deepest the stack has been since boot."""
        low = self.image.symbols["ql_bss_end"].address
        top = self.image.symbols["ql_stack_top"].address
        memory = np.frombuffer(self._core.read(low, top - low), np.uint8)
        touched = np.flatnonzero(memory != PAINT)
        return 0 if touched.size == 0 else int(top - low - touched[0])

    def _counted(self, kind: Kind, payload: bytes, function: str) -> tuple[Count, ...]:
        symbol = self.image.symbols[function]
        counter = _Counter(self._core, symbol.address, symbol.address + symbol.bytes)
        end = self._core.on_block(counter.on_block)
        try:
            self._ask(kind, payload)
        finally:
            end()
        return counter.result()

    def _ask(self, kind: Kind, payload: bytes) -> bytes:
        return self.exchange(pack_frame(Frame(kind, payload)), kind)

    def exchange(self, request: bytes, kind: Kind) -> bytes:
        """Return the payload of the answer to the bytes of a request, which must be of the given
        kind.

        Raises:
            DeviceError: the firmware faults, hangs, refuses or answers something else; the
                registers are in the message.
        """
        answer = self.carry(request)
        try:
            frame, _ = take_frame(answer)
        except DeviceError as error:
            raise self._failure(f"answered garbage: {error}") from error
        if frame is None:
            raise self._failure(
                f"gave no answer but {len(answer)} bytes" if answer else "gave no answer"
            )
        return payload_of(frame, kind)

    def carry(self, request: bytes) -> bytes:
        """Return whatever the firmware sends until it waits for more than these bytes.

        Raises:
            DeviceError: it faults, ends or hangs; the registers are in the message.
        """
        self._to_device, self._from_device = request, b""
        self._resume()
        return self._from_device

    def _resume(self) -> None:
        """Run until the firmware waits for more input."""
        self._waits = False
        try:
            self._core.run(self._timeout_s)
        except self._core.error as error:
            raise self._failure(f"stopped: {error}") from error
        if self._exit_code is not None:
            raise self._failure(
                f"ended with code {self._exit_code}"
                + (" (a fault)" if self._exit_code == FAULT_CODE else "")
            )
        if self._sends_without_end:
            raise self._failure(f"sent more than {MOST_BYTES:,} bytes, which no answer needs")
        if not self._waits:
            raise self._failure(f"did not answer within {self._timeout_s:g} s")

    def _on_trap(self, number: int) -> None:
        core = self._core
        if not core.is_at_trap():
            self._exit_code = -number
            core.stop()
            return
        operation = core.register("operation")
        words = struct.unpack("<3I", core.read(core.register("block"), 12))
        if operation == SYS_READ:
            if not self._to_device:
                self._waits = True
                core.stop()
                return
            part, self._to_device = self._to_device[: words[2]], self._to_device[words[2] :]
            core.write(words[1], part)
            core.set_register("operation", words[2] - len(part))
        elif operation == SYS_WRITE:
            self._from_device += core.read(words[1], words[2])
            if len(self._from_device) > MOST_BYTES:
                self._sends_without_end = True
                core.stop()
                return
            core.set_register("operation", 0)
        elif operation == SYS_OPEN:
            core.set_register("operation", 1)
        else:
            self._exit_code = words[1] if operation == SYS_EXIT_EXTENDED else -1
            core.stop()
            return
        core.pass_trap()

    def _failure(self, what: str) -> DeviceError:
        registers = shown(self._core.isa, self._core.registers())
        return DeviceError(f"{self._board.name} in unicorn: the firmware {what}; {registers}")


class _Counter:
    """Counts blocks from the call of a function to its return, in parts that begin where the
    function's own code goes on.
    """

    def __init__(self, core: EmulatedCore, start: int, end: int) -> None:
        self._core, self._start, self._end = core, start, end
        self._return: int | None = None
        self._is_done = False
        # whether the last block was the function's own; one that crosses a page comes in two blocks
        self._is_inside = False
        self._parts: list[dict[tuple[int, int], list[int]]] = []
        self._last: list[int] | None = None
        self._last_end = 0

    def on_block(self, address: int, size: int) -> None:
        """Count a block that is about to be executed."""
        if self._return is None:
            if self._is_done or address != self._start:
                return
            self._return = self._core.register("return") & ~1
        elif address == self._return:
            self._return, self._is_done = None, True
            self._branch(address)
            return
        self._branch(address)
        is_inside = self._start <= address < self._end
        if is_inside and not self._is_inside:
            self._parts.append({})
        self._is_inside = is_inside
        entry = self._parts[-1].setdefault((address, size), [0, 0])
        entry[0] += 1
        self._last, self._last_end = entry, address + size

    def _branch(self, address: int) -> None:
        if self._last is not None and address != self._last_end:
            self._last[1] += 1

    def result(self) -> tuple[Count, ...]:
        """Return what each part executed."""
        decode = decoder(self._core.isa)
        return tuple(
            Count(
                tuple(
                    (Block(at, size, decode(self._core.read(at, size), at)), times, taken)
                    for (at, size), (times, taken) in part.items()
                )
            )
            for part in self._parts
        )
