"""What a core was doing when its firmware failed: registers out of QEMU's gdb stub.

In: the path of the stub's socket. Out: register values, for messages. Protocol: GDB manual,
appendix E, Remote Serial Protocol.
"""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from types import TracebackType

from quarl.errors import DeviceError
from quarl.links.isa import Isa

# what an exception leaves at the stack pointer, xPSR behind it: Armv7-M ARM, B1.5.6
STACKED = ("r0", "r1", "r2", "r3", "r12", "lr", "pc")
FRAME_BYTES = 32
FLOAT_FRAME_BYTES = 72
EXC_RETURN_BASIC = 1 << 4  # the frame holds no floats
DESCRIPTION = "qXfer:features:read:target.xml:0,100"
RETRY_S = 0.02


class GdbStub:
    """A machine stopped by being looked at. Use it in a `with` block."""

    def __init__(self, path: Path, isa: Isa, timeout_s: float) -> None:
        self._isa = isa
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        self._buffer = b""
        end = time.monotonic() + timeout_s
        while True:
            try:
                self._socket.connect(str(path))
                return
            except OSError as error:  # QEMU has not made it yet
                if time.monotonic() > end:
                    self._socket.close()
                    raise DeviceError(f"QEMU's gdb stub does not answer: {error}") from error
                time.sleep(RETRY_S)

    def registers(self) -> dict[str, int]:
        """Return the core's registers."""
        names = self._isa.gdb
        answer = bytes.fromhex(self._ask("g")[: 8 * len(names)])
        return dict(zip(names, struct.unpack(f"<{len(names)}I", answer), strict=True))

    def registers_at_fault(self, handler: int) -> dict[str, int]:
        """Return the registers as they were when the core faulted, once it has come to the
        handler's first instruction.
        """
        self._ask(f"Z0,{handler:x},2")
        self._ask("c")
        found = self.registers()
        if self._isa.fault_pc is not None:  # nothing else has changed
            self._ask(DESCRIPTION)  # QEMU names single registers to those only who have read it
            pc = bytes.fromhex(self._ask(f"p{self._isa.fault_pc:x}"))
            return {**found, "pc": int.from_bytes(pc, "little")}
        frame = struct.unpack(
            f"<{len(STACKED)}I", bytes.fromhex(self._ask(f"m{found['sp']:x},{4 * len(STACKED):x}"))
        )
        has_floats = not found["lr"] & EXC_RETURN_BASIC
        before = found["sp"] + FRAME_BYTES + (FLOAT_FRAME_BYTES if has_floats else 0)
        return {**found, **dict(zip(STACKED, frame, strict=True)), "sp": before}

    def kill(self) -> None:
        """End the machine."""
        self._send("k")

    def __enter__(self) -> GdbStub:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def _ask(self, command: str) -> str:
        self._send(command)
        while True:
            start, end = self._buffer.find(b"$"), self._buffer.find(b"#")
            if 0 <= start < end and len(self._buffer) >= end + 3:
                answer, self._buffer = self._buffer[start + 1 : end], self._buffer[end + 3 :]
                self._socket.sendall(b"+")
                if (
                    answer[:1] in (b"T", b"S") and command != "c"
                ):  # a running machine says first that it has been stopped
                    continue
                return answer.decode("ascii", "replace")
            part = self._socket.recv(4096)
            if not part:
                raise DeviceError("QEMU's gdb stub closed the connection")
            self._buffer += part

    def _send(self, command: str) -> None:
        data = command.encode("ascii")
        self._socket.sendall(b"$" + data + b"#%02x" % (sum(data) % 256))
