"""The target of a measurement: a board, the way to it, and the tool that flashes it.

`quarl.profiles.platforms.target_of` makes one, checked once, before any work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from quarl.boards.linux import AnyBoard
from quarl.links.firmware_link import is_serial, serial_path
from quarl.links.flash import FlashTool


@dataclass(frozen=True, slots=True)
class Target:
    """Where a policy runs."""

    board: AnyBoard
    link: str | None = None  # None: the board's emulator
    flash: FlashTool | None = None  # None: the board has been flashed before
    trust: bool = False  # whether C code of a bundle that another quarl wrote may run on Linux

    def emulated(self) -> Target:
        """Return the target with its emulator in place of a serial link: it alone counts layers."""
        return self if self.serial_port is None else replace(self, link=None)

    @property
    def serial_port(self) -> str | None:
        """The port that leads to a real microcontroller, None for every other link."""
        return serial_path(self.link) if self.link is not None and is_serial(self.link) else None
