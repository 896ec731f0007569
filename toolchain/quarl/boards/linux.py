"""Boards that run Linux: a core, its clock and memory, from the same folders as the others (`kind =
"linux"`).

In: TOML, parsed strictly. Out: frozen `LinuxBoard`s. What a core is, for emulator and compiler
alike, is said once, in `quarl.boards.cores`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

from quarl.boards.core import CpuInfo, LinuxCore
from quarl.boards.cores import LINUX_CORES
from quarl.boards.cortex_m import LINUX, Board, Reader, board_tables, parse_board
from quarl.errors import InputError


@dataclass(frozen=True, slots=True)
class LinuxBoard:
    """One board that runs Linux."""

    name: str
    title: str
    cpu: str
    cores: int
    clock_hz: int
    ram_bytes: int

    @property
    def core(self) -> LinuxCore:
        """What is known of the board's core."""
        return LINUX_CORES[self.cpu]

    @property
    def cpuinfo(self) -> CpuInfo:
        """What Linux says of the board's core."""
        found = self.core.cpuinfo
        assert found is not None, "parse_linux_board takes no other cores"
        return found


Target: TypeAlias = Board | LinuxBoard


def read_linux_boards(root: Path) -> dict[str, LinuxBoard]:
    """Return the boards that run Linux in the folders of `root`, by name, sorted.

    Raises:
        InputError: a board file that is wrong; lists all its problems.
    """
    return {
        folder.name: parse_linux_board(table, str(path), folder.name)
        for folder, path, table in board_tables(root)
        if table.get("kind") == LINUX
    }


def find_target(name: str, root: Path) -> Target:
    """Return the board of that name, of either kind.

    Raises:
        InputError: there is none; names the closest ones.
    """
    tables = {folder.name: (path, table) for folder, path, table in board_tables(root)}
    if name not in tables:
        close = get_close_matches(name, tables, 3, 0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else "quarl boards lists them"
        raise InputError(f"no board is called {name!r}: {hint}")
    path, table = tables[name]
    return (
        parse_linux_board(table, str(path), name)
        if table.get("kind") == LINUX
        else parse_board(table, str(path), name)
    )


def parse_linux_board(table: Mapping[str, Any], where: str, name: str) -> LinuxBoard:
    """Return the board a table describes.

    Raises:
        InputError: unknown or missing keys, wrong types or values; all of them at once.
    """
    reader = Reader(table)
    board = LinuxBoard(
        name=reader.text("name"),
        title=reader.text("title"),
        cpu=reader.choice(
            "cpu", tuple(name for name, core in LINUX_CORES.items() if core.cpuinfo is not None)
        ),
        cores=reader.number("cores", 1),
        clock_hz=reader.number("clock_hz", 1),
        ram_bytes=reader.number("ram_bytes", 1),
    )
    problems = reader.problems + reader.unknown(
        ["kind", *(field.name for field in fields(LinuxBoard))]
    )
    if board.name != name and not problems:
        problems.append(
            f"name is {board.name!r}, the folder is called {name!r}: they must be equal"
        )
    if problems:
        raise InputError(f"{where}: " + "; ".join(problems))
    return board
