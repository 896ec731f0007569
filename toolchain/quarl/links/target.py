"""The target of a measurement: a board, the way to it, and the tool that flashes it; checked once,
before any work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast, get_args

from quarl.boards.linux import AnyBoard, LinuxBoard
from quarl.errors import InputError
from quarl.links.firmware_link import EMULATORS, SERIAL, is_serial, serial_path
from quarl.links.flash import FlashTool
from quarl.links.pi_link import check_pi_link


@dataclass(frozen=True, slots=True)
class Target:
    """Where a policy runs."""

    board: AnyBoard
    link: str | None = None  # None: the board's emulator
    flash: FlashTool | None = None  # None: the board has been flashed before
    trust: bool = False  # whether C code of a bundle that another quarl wrote may run on Linux

    @property
    def serial_port(self) -> str | None:
        """The port that leads to a real microcontroller, None for every other link."""
        return serial_path(self.link) if self.link is not None and is_serial(self.link) else None


def target_of(
    board: AnyBoard, link: str | None = None, flash: str | None = None, *, trust: bool = False
) -> Target:
    """Return the target; nothing is connected yet.

    Args:
        link: "unicorn", "qemu-system", "serial:PORT", or for a Raspberry Pi "emulated",
            "ssh:USER@HOST", "local"; None: emulated.
        flash: "pyocd" or "openocd".
    Raises:
        InputError: there is no such link or tool, the board has none, or a board in an emulator
            is to be flashed.
        ToolMissingError: what the link needs is not installed.
    """
    if flash is not None and flash not in get_args(FlashTool):
        raise InputError(f"--flash {flash}: must be one of {', '.join(get_args(FlashTool))}")
    if flash is not None and not is_serial(link):
        raise InputError(
            f"--flash {flash}: only a real board is flashed: give --link {SERIAL}PORT as well"
        )
    if isinstance(board, LinuxBoard):
        check_pi_link(link, board)
    elif link is not None and link not in EMULATORS:
        serial_path(link)
        if board.uart is None:
            raise InputError(f"--link {link}: {board.name} has no [uart] in its board file")
    return Target(board, link, cast(FlashTool | None, flash), trust)
