"""A debug probe through pyOCD: writes the firmware, starts it, and holds its core.

In: a board with a [probe] and an image. Out: a `DebugCore` that stands at the firmware's start.
"""

from __future__ import annotations

import atexit
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarl.boards.microcontroller import Board
from quarl.errors import DeviceError, InputError, ToolMissingError

if TYPE_CHECKING:
    from quarl.links.rtt import DownChannel, UpChannel

PROBE = "probe"  # the link; with a number of a probe, probe:ID
RTT = "rtt"  # through the probe too, while the core runs
START_S = 15.0  # for the firmware to open its port: it replays its examples first
POLL_S = 0.001


class PyOcdCore:
    """A core that pyOCD holds; see `quarl.links.semihosting.DebugCore`."""

    def __init__(self, target: Any) -> None:
        """Take pyOCD's target of an open session."""
        self.target = self._target = target

    def resume(self) -> None:
        """Let it run."""
        self._target.resume()

    def halt(self) -> None:
        """Stop it."""
        self._target.halt()

    def is_halted(self, wait_s: float) -> bool:
        """Return whether it has stopped, or stops within this time."""
        end = time.monotonic() + wait_s
        while not self._target.is_halted():
            if time.monotonic() > end:
                return False
            time.sleep(POLL_S)
        return True

    def register(self, name: str) -> int:
        """Return a register."""
        return int(self._target.read_core_register(name))

    def set_register(self, name: str, value: int) -> None:
        """Set a register."""
        self._target.write_core_register(name, value)

    def read(self, address: int, count: int) -> bytes:
        """Return bytes of its memory."""
        return bytes(self._target.read_memory_block8(address, count))

    def write(self, address: int, data: bytes) -> None:
        """Write bytes into its memory."""
        self._target.write_memory_block8(address, list(data))


def is_probe(link: str | None) -> bool:
    """Whether a link leads to a board through its debug probe."""
    return link is not None and link.partition(":")[0] in (PROBE, RTT)


def is_rtt(link: str | None) -> bool:
    """Whether the bytes come through RTT, and not by semihosting."""
    return link is not None and link.partition(":")[0] == RTT


def check_probe(board: Board) -> None:
    """Check, before any work, that pyOCD is there and knows the board's chip by name.

    Raises:
        InputError: the board file has no [probe]. ToolMissingError: pyOCD is not installed.
    """
    import importlib.util

    if board.core.architecture != "arm":
        raise InputError(f"--link {PROBE}: pyOCD holds Arm cores, {board.name} has none")
    if board.probe is None or not board.probe.pyocd:
        raise InputError(
            f"--link {PROBE}: the board file of {board.name} has no [probe] pyocd, pyOCD's name of "
            "the chip"
        )
    if importlib.util.find_spec("pyocd") is None:
        raise ToolMissingError("pyOCD is not installed: pip install 'quarl[probe]'")


def open_channels(
    target: Any, address: int, where: str, wait_s: float = START_S
) -> tuple[UpChannel, DownChannel]:
    """Return the two channels of a firmware that runs.

    Args:
        target: pyOCD's.
        address: of the firmware's control block.
    Raises:
        DeviceError: the firmware opens none in time.
    """
    from pyocd.core.exceptions import RTTError  # type: ignore[import-untyped]
    from pyocd.debug.rtt import RTTControlBlock  # type: ignore[import-untyped]

    end = time.monotonic() + wait_s
    while True:
        block = RTTControlBlock.from_target(target, address=address)
        try:
            block.start()
        except RTTError as error:
            if time.monotonic() < end:
                time.sleep(POLL_S)
                continue
            raise DeviceError(
                f"{where}: the firmware opens no RTT within {wait_s:g} s: it does not come up"
            ) from error
        return block.up_channels[0], block.down_channels[0]


def open_probe(board: Board, elf: bytes, unique_id: str | None = None) -> PyOcdCore:
    """Return the board's core, halted at the start of the firmware that was just written.

    Args:
        unique_id: of the probe; None: the first one.
    Raises:
        InputError, ToolMissingError: as `check_probe`.
        DeviceError: no probe is connected, the chip is unknown, or writing failed.
    """
    check_probe(board)
    assert board.probe is not None
    from pyocd.core.exceptions import Error
    from pyocd.core.helpers import ConnectHelper  # type: ignore[import-untyped]
    from pyocd.flash.file_programmer import FileProgrammer  # type: ignore[import-untyped]

    try:
        session = ConnectHelper.session_with_chosen_probe(
            unique_id=unique_id,
            blocking=False,
            return_first=unique_id is None,
            target_override=board.probe.pyocd,
        )
        if session is None:
            raise DeviceError(
                f"{board.name}: pyOCD finds no debug probe: connect the board's USB port and check "
                "its power, then run again"
            )
        session.open()
        atexit.register(session.close)
        with tempfile.TemporaryDirectory(prefix="quarl-probe-") as folder:
            image = Path(folder) / "firmware.elf"
            image.write_bytes(elf)
            FileProgrammer(session).program(str(image), file_format="elf")
        session.target.reset_and_halt()
    except Error as error:
        advice = f"python -m pyocd pack install {board.probe.pyocd} may be needed"
        raise DeviceError(f"{board.name}: pyOCD: {error} ({advice})") from error
    return PyOcdCore(session.target)
