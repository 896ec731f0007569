"""Microcontroller cores in QEMU: the same firmware, linked for the memory of an emulated machine;
the only link with an M55.

Each batch is one run of QEMU: all requests go in, all answers come out. Counts come from our own
plugin (firmware_harness/emulator), compiled once with the host's C compiler. Emulated, not timed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from quarl.boards.microcontroller import Board
from quarl.errors import DeviceError, ToolMissingError
from quarl.firmware.elf import Image
from quarl.firmware.interface import Interface
from quarl.links.answers import (
    TICKS,
    actions_of,
    expected_identity,
    input_payloads,
    observation_payloads,
    outputs_of,
    ticks_of,
)
from quarl.links.count import Block, Count, merged
from quarl.links.frames import CRC, HEADER, Frame, Kind, pack_frame, payload_of, take_frame
from quarl.links.icount import instructions_by_icount
from quarl.links.isa import ISAS, decoder
from quarl.links.machine import TIMEOUT_S, Guest, PluginError, check_emulator, converse
from quarl.links.plugin import plugin_library
from quarl.tools import run

SPARE_BYTES = 1 << 20  # beyond the answers: what a firmware may send before it is stopped
PLUGIN_SOURCE = "emulator/ql_block_counter.c"


def emulated_board(board: Board) -> Board:
    """Return the board with the memory of QEMU's machine: the same instructions elsewhere."""
    machine = board.core.emulation.machine
    return replace(board, flash=machine.flash, ram=machine.ram, vectors=machine.vectors)


class QemuDevice:
    """A firmware image for an `emulated_board`; `run` and `infer` answer as the runtimes do."""

    def __init__(
        self,
        elf: bytes,
        image: Image,
        board: Board,
        interface: Interface,
        cache_dir: Path,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.image, self.interface, self._cache_dir = image, interface, cache_dir
        self._machine = board.core.emulation.machine
        self._isa = ISAS[board.core.architecture]
        fault = image.symbols.get(self._isa.fault_handler)
        self._guest = Guest(
            self._machine,
            self._isa,
            elf,
            f"{board.name} in QEMU",
            None if fault is None else fault.address,
            timeout_s,
        )
        self._identity = expected_identity(interface)
        check_emulator(self._machine)
        self._converse("I", [b""])

    @property
    def emulator(self) -> str:
        """Name and version of the emulator."""
        emulator = self._machine.emulator
        words = run([emulator, "--version"], timeout=TIMEOUT_S).stdout.decode().split()
        return f"{emulator} {words[words.index('version') + 1]}"

    @property
    def place(self) -> str:
        """Where it runs, for people."""
        return f"in {self.emulator}"

    def run(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs [n, count] for the graph's integers [n, ...]."""
        return outputs_of(
            self.interface, self._converse("R", input_payloads(self.interface, inputs))
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
                answer[TICKS.size :]
                for answer in self._converse("A", observation_payloads(self.interface, obs))
            ],
        )

    def decisions(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the actions for the graph's integers [n, ...], decoded on the device."""
        start = TICKS.size + self._identity.output_bytes
        return actions_of(
            self.interface,
            [
                answer[start:]
                for answer in self._converse("R", input_payloads(self.interface, inputs))
            ],
        )

    def count_calls(self, inputs: NDArray[Any]) -> tuple[Count, ...]:
        """Return what each of the program's calls executes in one inference of inputs [1, ...]; see
        `UnicornDevice.count_calls`.
        """
        *calls, end = self._counted(
            "R", input_payloads(self.interface, inputs[:1]), self.interface.names.symbol("infer")
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
                observation_payloads(self.interface, obs[None]),
                self.interface.names.symbol("act"),
            )
        )

    def icount_call(self, inputs: NDArray[Any]) -> tuple[int, int]:
        """Return the instructions of one inference of inputs [1, ...], and their possible error;
        for firmware with SysTick's ticks.
        """
        return self._by_icount("R", input_payloads(self.interface, inputs[:1]))

    def icount_act(self, obs: NDArray[Any]) -> tuple[int, int]:
        """Return the instructions of `ql_policy_act` for one vector observation [features], and
        their possible error; as above.
        """
        return self._by_icount("A", observation_payloads(self.interface, obs[None]))

    def _by_icount(self, kind: Kind, payloads: Sequence[bytes]) -> tuple[int, int]:
        return instructions_by_icount(
            lambda options: ticks_of(self._converse(kind, payloads, options))[0],
            self._machine.ticks_hz,
        )

    def _counted(self, kind: Kind, payloads: Sequence[bytes], function: str) -> tuple[Count, ...]:
        symbol, caller = self.image.symbols[function], self.image.symbols["ql_serve"]
        with tempfile.TemporaryDirectory(prefix="quarl-qemu-") as folder:
            out = Path(folder) / "blocks.txt"
            ranges = {"start": symbol.address, "end": symbol.address + symbol.bytes}
            ranges |= {"caller": caller.address, "caller_end": caller.address + caller.bytes}
            options = ",".join(
                [f"out={out}", *(f"{name}={value}" for name, value in ranges.items())]
            )
            try:
                library = plugin_library(PLUGIN_SOURCE, self._cache_dir)
            except (ToolMissingError, DeviceError) as error:
                raise PluginError(f"the counting plugin cannot be made: {error}") from error
            self._converse(kind, payloads, ["-plugin", f"{library},{options}"])
            return self._parts(out.read_text())

    def _parts(self, text: str) -> tuple[Count, ...]:
        decode = decoder(self._isa)
        parts: dict[int, list[tuple[Block, int, int]]] = {}
        for line in text.splitlines():
            part, address, end, instructions, executions, taken = line.split()
            start, size = int(address, 16), int(end, 16) - int(address, 16)
            decoded = decode(self._code(start, size), start)
            if len(decoded) != int(
                instructions
            ):  # vector instructions, which the decoder does not know
                decoded = ("",) * int(instructions)
            parts.setdefault(int(part), []).append(
                (Block(start, size, decoded), int(executions), int(taken))
            )
        return tuple(
            Count(tuple(sorted(parts[part], key=lambda entry: entry[0].address)))
            for part in sorted(parts)
        )

    def _code(self, address: int, size: int) -> bytes:
        for segment in self.image.segments:
            if segment.address <= address < segment.address + len(segment.content):
                return segment.content[address - segment.address :][:size]
        return b""

    def _converse(
        self, kind: Kind, payloads: Sequence[bytes], options: Sequence[str] = ()
    ) -> list[bytes]:
        """Return the payloads of the answers to requests of one kind, in one run of QEMU.

        Raises:
            DeviceError: the firmware faults, hangs, refuses or answers something else.
        """
        requests = b"".join(
            pack_frame(Frame(kind, payload, tag)) for tag, payload in enumerate(payloads)
        ) + pack_frame(Frame("X", b""))
        most_bytes = SPARE_BYTES + len(payloads) * (
            HEADER.size + self._identity.longest_answer + CRC.size
        )
        stream = converse(self._guest, requests, options, most_bytes)
        answers: list[bytes] = []
        for tag in range(len(payloads)):
            try:
                frame, stream = take_frame(stream)
                if frame is None or frame.tag != tag:
                    raise DeviceError(f"{len(payloads)} requests, {len(answers)} answers")
                answers.append(payload_of(frame, kind))
            except DeviceError as error:
                raise DeviceError(f"{self._guest.where}: {error}") from error
        return answers
