"""One run of a machine in QEMU: bytes in over semihosting, bytes out, and the core's
registers where the firmware fails.

In: an ELF image and the bytes of its requests. Out: all it answered. It is watched: one that hangs,
or sends without end, is stopped and looked at through QEMU's gdb stub; one that faults is run again
up to its fault handler.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from types import TracebackType

from quarl.boards.core import Machine
from quarl.errors import DeviceError, ToolMissingError
from quarl.links.gdb import GdbStub
from quarl.links.isa import Isa, shown
from quarl.tools import run

PACKAGES = {"qemu-system-riscv32": "qemu-system-misc"}  # of Debian, where it is another name
TIMEOUT_S = 300.0
GRACE_S = 30.0  # for looking at a machine that has failed
LOOK_S = 0.1
FAULT_CODE = 99  # what firmware_harness/startup ends with on a fault
DUMPED = re.compile(r"R(?:\d\d)=[0-9a-f]{8}")


class PluginError(DeviceError):
    """QEMU cannot load the counting plugin, or it cannot be made."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A firmware in a machine of QEMU."""

    machine: Machine
    isa: Isa
    elf: bytes
    where: str  # names board and emulator in messages
    fault: int | None  # address of its fault handler; None: registers of a fault cannot be shown
    timeout_s: float = TIMEOUT_S


def check_emulator(machine: Machine) -> None:
    """Check that QEMU is there for a machine.

    Raises:
        ToolMissingError: it is not; says what brings it.
    """
    if shutil.which(machine.emulator) is None:
        raise ToolMissingError(
            f"{machine.emulator} is not installed: apt-get install {package_of(machine.emulator)}"
        )


def package_of(emulator: str) -> str:
    """Return Debian's package with an emulator."""
    return PACKAGES.get(emulator, emulator)


def converse(guest: Guest, requests: bytes, options: Sequence[str], most_bytes: int) -> bytes:
    """Return all the bytes the firmware answers until it ends.

    Args:
        options: more of QEMU's own.
        most_bytes: no answer needs more than this.
    Raises:
        PluginError: QEMU refuses a plugin among the options.
        DeviceError: the firmware faults, hangs or sends without end; the registers are in the
            message.
    """
    with tempfile.TemporaryDirectory(prefix="quarl-qemu-") as name:
        folder = Path(name)
        image, answers, stub = folder / "firmware.elf", folder / "answers", folder / "gdb"
        image.write_bytes(guest.elf)
        argv = _argv(guest.machine, image, stub)
        with answers.open("wb") as out, _Watch(guest, stub, answers, most_bytes) as watch:
            done = run(
                [*argv, *options], input=requests, timeout=guest.timeout_s + GRACE_S, stdout=out
            )
        if watch.trouble:
            raise DeviceError(f"{guest.where}: the firmware {watch.trouble}; {watch.registers}")
        if done.returncode == 0:
            return answers.read_bytes()
        words = done.stderr.decode(errors="replace").strip()
        if "plugin" in words.lower():
            raise PluginError(f"QEMU cannot load the counting plugin: {words.splitlines()[-1]}")
        registers = (
            _at_fault(guest, [*argv, "-S"], requests, stub) if done.returncode == FAULT_CODE else ""
        )
    raise DeviceError(f"{guest.where}: the firmware {_ending(done, words)}{registers}")


def _argv(machine: Machine, image: Path, stub: Path) -> list[str]:
    argv = [machine.emulator, "-M", machine.name, *machine.options]
    argv += ["-display", "none", "-monitor", "none", "-serial", "none"]
    # with a chardev, answers are lost when the firmware ends
    argv += ["-semihosting-config", "enable=on,target=native"]
    return [*argv, "-gdb", f"unix:{stub},server=on,wait=off", "-kernel", str(image)]


def _ending(done: CompletedProcess[bytes], words: str) -> str:
    dumped = " ".join(DUMPED.findall(words))  # QEMU's own, of a core that locked up
    last = " ".join(words.splitlines()[-2:])
    if done.returncode == FAULT_CODE:
        return f"ended with code {done.returncode} (a fault)"
    return f"ended with code {done.returncode}" + (
        f": {words.splitlines()[0]}; {dumped}" if dumped else f": {last}" if last else ""
    )


def _at_fault(guest: Guest, argv: Sequence[str], requests: bytes, stub: Path) -> str:
    """Return the registers of a fault that has happened before and will again, as the end of a
    message.
    """
    handler = guest.fault
    if handler is None:
        return ""
    stub.unlink(missing_ok=True)
    found: list[str] = []

    def look() -> None:
        try:
            with GdbStub(stub, guest.isa, GRACE_S) as core:
                found.append("; " + shown(guest.isa, core.registers_at_fault(handler)))
                core.kill()
        except (DeviceError, OSError, ValueError):
            return  # the fault itself is reported all the same

    looker = threading.Thread(target=look)
    looker.start()
    with suppress(DeviceError):  # it is killed as soon as it has been looked at
        run(argv, input=requests, timeout=GRACE_S)
    looker.join()
    return "".join(found)


class _Watch:
    """Stops a machine that takes too long or sends too much, and keeps its registers."""

    def __init__(self, guest: Guest, stub: Path, answers: Path, most_bytes: int) -> None:
        self.trouble, self.registers = "", "its registers cannot be read"
        self._guest, self._stub, self._answers = guest, stub, answers
        self._most_bytes = most_bytes
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        end = time.monotonic() + self._guest.timeout_s
        while not self._done.wait(LOOK_S):
            if time.monotonic() > end:
                self.trouble = f"did not answer within {self._guest.timeout_s:g} s"
            elif self._answers.stat().st_size > self._most_bytes:
                self.trouble = f"sent more than {self._most_bytes:,} bytes, which no answer needs"
            if self.trouble:
                break
        else:
            return
        try:
            with GdbStub(self._stub, self._guest.isa, GRACE_S) as core:
                self.registers = shown(self._guest.isa, core.registers())
                core.kill()
        except (DeviceError, OSError, ValueError):
            return  # the machine is killed when its own time is up
