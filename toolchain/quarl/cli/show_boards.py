"""What `quarl boards` shows: one table for each kind of board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from quarl.boards.linux import AnyBoard, LinuxBoard
from quarl.boards.microcontroller import Board
from quarl.cli.table import table

_MICROCONTROLLERS = ("board", "core", "fpu", "MHz", "flash KiB", "RAM KiB", "what it is")
_LINUX = ("board, Linux", "core", "cores", "MHz", "RAM MiB", "what it is")


def boards_text(boards: Sequence[AnyBoard]) -> str:
    """Return the boards as text."""
    rows: dict[tuple[str, ...], list[tuple[str, ...]]] = {_MICROCONTROLLERS: [], _LINUX: []}
    for board in boards:
        clock = f"{board.clock_hz / 1e6:g}"
        match board:
            case Board():
                sizes = (f"{region.bytes / 1024:,.0f}" for region in (board.flash, board.ram))
                row = (board.name, board.cpu, board.fpu, clock, *sizes, board.title)
                rows[_MICROCONTROLLERS].append(row)
            case LinuxBoard():
                mib = f"{board.ram_bytes / 2**20:,.0f}"
                row = (board.name, board.cpu, str(board.cores), clock, mib, board.title)
                rows[_LINUX].append(row)
            case _:
                assert_never(board)
    return "\n\n".join(table(header, listed) for header, listed in rows.items() if listed)
