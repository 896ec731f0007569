"""A serial line for tests: QEMU's UART on a real pty, and between it and the host a second pty that
damages what passes, where told.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import tempfile
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

READY_S = 30.0
Damage = Callable[[str, int, int], bytes | None]
"""Direction ("down" to the device, "up" from it), index of the byte in it, byte -> what arrives;
None keeps it back (see `Line`).
"""


@contextmanager
def emulated_uart(machine: str, elf: bytes) -> Iterator[str]:
    """Yield the path of the pty that is the first UART of QEMU's machine running the firmware; QEMU
    ends with the block.
    """
    with tempfile.TemporaryDirectory(prefix="quarl-pty-") as folder:
        path = Path(folder) / "firmware.elf"
        path.write_bytes(elf)
        argv = [
            "qemu-system-arm",
            "-M",
            machine,
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "pty",
            "-kernel",
            str(path),
        ]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        watchdog = threading.Timer(READY_S, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            found = re.search(rb"/dev/pts/\d+", process.stdout.readline())
            watchdog.cancel()
            assert found is not None, "QEMU opened no pty"
            yield found[0].decode()
        finally:
            watchdog.cancel()
            process.kill()
            process.communicate()


class Line:
    """Carries bytes between a pty and another one, `path`, damaged as told. What is kept back comes
    with the next byte the other way.
    """

    def __init__(
        self,
        device_path: str,
        damage: Damage = lambda direction, index, byte: bytes([byte]),
        cut_after: int = 1 << 60,
    ) -> None:
        self._device = os.open(device_path, os.O_RDWR | os.O_NOCTTY)
        self._host, slave = os.openpty()
        for end in (self._device, self._host, slave):
            tty.setraw(end)
        self.path = os.ttyname(slave)
        self._slave = slave  # held open, or the pty would end before the host has opened it
        self.carried = {"down": 0, "up": 0}
        self._kept = {"down": b"", "up": b""}
        self._damage, self._cut_after = damage, cut_after
        self._wake, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cut the line: the host's end is then a port that has gone."""
        os.write(self._stop, b".")
        self._thread.join()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _carry(self) -> None:
        try:
            self._carry_bytes()
        finally:
            for end in (self._device, self._host, self._slave):
                os.close(end)

    def _carry_bytes(self) -> None:
        while self.carried["down"] < self._cut_after:
            ready, _, _ = select.select([self._device, self._host, self._wake], [], [])
            if self._wake in ready:
                return
            for source, target, direction, back in (
                (self._host, self._device, "down", "up"),
                (self._device, self._host, "up", "down"),
            ):
                if source in ready:
                    try:
                        data = os.read(source, 4096)
                        os.write(target, b"".join(self._passed(direction, byte) for byte in data))
                        late, self._kept[back] = self._kept[back], b""
                        os.write(source, late)
                    except OSError:
                        return

    def _passed(self, direction: str, byte: int) -> bytes:
        index = self.carried[direction]
        self.carried[direction] += 1
        arrives = self._damage(direction, index, byte)
        if arrives is None:
            self._kept[direction] += bytes([byte])
            return b""
        return arrives
