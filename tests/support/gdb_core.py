"""A core in QEMU, held through its gdb stub as a probe holds one: QEMU answers no semihosting, and
stops at every request because a breakpoint lies there.

It has the methods of pyOCD's targets, so that what is tested is the product's own adapter.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from quarl.boards.microcontroller import Board
from quarl.firmware.elf import Segment
from quarl.links.isa import ARM

NUMBERS = {name: number for number, name in enumerate(ARM.gdb)}


class GdbTarget:
    """What `quarl.links.probe.PyOcdCore` asks of pyOCD's target."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._buffer = b""
        for _ in range(200):
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                time.sleep(0.05)
        self._running = False
        self._ask("qXfer:features:read:target.xml:0,100")  # single registers have numbers then

    def break_at(self, address: int) -> None:
        assert self._ask(f"Z0,{address:x},2") == "OK"

    def resume(self) -> None:
        self._ask("vCont;s")  # past a breakpoint that lies here
        if self._at_trap():
            return
        self._send("c")
        self._running = True

    def halt(self) -> None:
        if self._running:
            self._socket.sendall(b"\x03")
            self._answer(30)
            self._running = False

    def is_halted(self) -> bool:
        if self._running and self._answer(0.01) is not None:
            self._running = False
        return not self._running

    def read_core_register(self, name: str) -> int:
        values = bytes.fromhex(self._ask("g")[: 8 * len(ARM.gdb)])
        return int(struct.unpack(f"<{len(ARM.gdb)}I", values)[NUMBERS[name]])

    def write_core_register(self, name: str, value: int) -> None:
        text = struct.pack("<I", value & 0xFFFF_FFFF).hex()
        assert self._ask(f"P{NUMBERS[name]:x}={text}") == "OK"

    def read_memory_block8(self, address: int, count: int) -> list[int]:
        return list(bytes.fromhex(self._ask(f"m{address:x},{count:x}")))

    def write_memory_block8(self, address: int, data: list[int]) -> None:
        for at in range(0, len(data), 512):
            part = bytes(data[at : at + 512])
            assert self._ask(f"M{address + at:x},{len(part):x}:{part.hex()}") == "OK"

    def read32(self, address: int) -> int:
        return self.read_memory_block32(address, 1)[0]

    def read_memory_block32(self, address: int, count: int) -> list[int]:
        data = bytes(self.read_memory_block8(address, 4 * count))
        return list(struct.unpack(f"<{count}I", data))

    def write32(self, address: int, value: int) -> None:
        self.write_memory_block8(address, list(struct.pack("<I", value)))

    def kill(self) -> None:
        self._send("k")
        self._socket.close()

    def _at_trap(self) -> bool:
        pc = self.read_core_register("pc")
        return bytes(self.read_memory_block8(pc, len(ARM.trap))) == ARM.trap

    def _ask(self, command: str) -> str:
        self._send(command)
        answer = self._answer(30)
        assert answer is not None, command
        return answer

    def _send(self, command: str) -> None:
        data = command.encode()
        self._socket.sendall(b"$" + data + b"#%02x" % (sum(data) % 256))

    def _answer(self, wait_s: float) -> str | None:
        end = time.monotonic() + wait_s
        while True:
            start, stop = self._buffer.find(b"$"), self._buffer.find(b"#")
            if 0 <= start < stop and len(self._buffer) >= stop + 3:
                text = self._buffer[start + 1 : stop].decode()
                self._buffer = self._buffer[stop + 3 :]
                self._socket.sendall(b"+")
                return text
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                part = self._socket.recv(65_536)
            except TimeoutError:
                return None
            assert part, "QEMU closed the connection"
            self._buffer += part


class RunningTarget(GdbTarget):
    """A target whose memory is there while its core runs, as a probe's is: QEMU's is not, so each
    access stops the core for a moment.
    """

    def read_memory_block8(self, address: int, count: int) -> list[int]:
        with self._stopped():
            return super().read_memory_block8(address, count)

    def write_memory_block8(self, address: int, data: list[int]) -> None:
        with self._stopped():
            super().write_memory_block8(address, data)

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        was_running = self._running and not self.is_halted()
        self.halt()
        yield
        if was_running:
            self._send("c")
            self._running = True


@contextmanager
def held(
    board: Board,
    elf: bytes,
    segments: Sequence[Segment],
    folder: Path,
    kind: type[GdbTarget] = GdbTarget,
) -> Iterator[GdbTarget]:
    """Give the core of QEMU's machine, halted at the start of the firmware, a breakpoint at each
    request in its code.
    """
    machine = board.core.emulation.machine
    image, path = folder / "firmware.elf", folder / "gdb"
    image.write_bytes(elf)
    argv = [machine.emulator, "-M", machine.name, *machine.options, "-S", "-display", "none"]
    argv += ["-monitor", "none", "-serial", "none", "-gdb", f"unix:{path},server=on,wait=off"]
    with subprocess.Popen([*argv, "-kernel", str(image)], stderr=subprocess.DEVNULL) as process:
        target = kind(path)
        try:
            for segment in segments:
                for at in range(0, len(segment.content) - 1, 2):
                    if segment.content[at : at + 2] == ARM.trap:
                        target.break_at(segment.address + at)
            yield target
        finally:
            target.kill()
            process.kill()
