"""The target of a measurement: a board, the way to it, and the tool that flashes it.

`quarl.profiles.platforms.target_of` makes one, checked once, before any work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from quarl.boards.linux import AnyBoard
from quarl.links.firmware_link import is_serial
from quarl.links.flash import FlashTool
from quarl.links.probe import is_probe


@dataclass(frozen=True, slots=True)
class Target:
    """Where a policy runs."""

    board: AnyBoard
    link: str | None = None  # None: the board's emulator
    flash: FlashTool | None = None  # None: the board has been flashed before
    clock_hz: int | None = None  # of the core while it is measured; None: as the board file says
    trust: bool = False  # whether C code of a bundle that another quarl wrote may run on Linux

    def emulated(self) -> Target:
        """Return the target with its emulator in place of a real link: it alone counts layers."""
        return self if self.real_link is None else replace(self, link=None)

    @property
    def real_link(self) -> str | None:
        """The link that leads to a real microcontroller, None for every other one."""
        return self.link if is_serial(self.link) or is_probe(self.link) else None
