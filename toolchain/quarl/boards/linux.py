"""Boards that run Linux: a core, its clock and memory, from the same folders as the others (`kind =
"linux"`).

In: TOML, parsed strictly. Out: frozen `LinuxBoard`s. What a core is, for emulator and compiler
alike, is said once, in `quarl.boards.cores`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from quarl.boards.core import CpuInfo, LinuxCore
from quarl.boards.cores import LINUX_CORES
from quarl.boards.microcontroller import (
    LINUX,
    Board,
    board_tables,
    parse_board,
    unknown_board,
    wrong_name,
)
from quarl.files.tables import Count, OneOf, Text, table, value_from

ON_BOARDS = [name for name, core in LINUX_CORES.items() if core.cpuinfo is not None]


@table
@dataclass(frozen=True, slots=True)
class LinuxBoard:
    """One board that runs Linux."""

    kind: Annotated[Literal["linux"], Field(description="says that the board runs Linux")]
    name: Annotated[Text, Field(description="the name of the board's folder")]
    title: Annotated[Text, Field(description="for people")]
    cpu: Annotated[str, OneOf(ON_BOARDS), Field(description="the core")]
    cores: Annotated[Count, Field(description="how many cores")]
    clock_hz: Annotated[Count, Field(description="the highest clock of a core")]
    ram_bytes: Annotated[Count, Field(description="memory")]

    @property
    def core(self) -> LinuxCore:
        """What is known of the board's core."""
        return LINUX_CORES[self.cpu]

    @property
    def cpuinfo(self) -> CpuInfo:
        """What Linux says of the board's core."""
        found = self.core.cpuinfo
        assert found is not None, "board files can name no other core"
        return found


AnyBoard: TypeAlias = Board | LinuxBoard


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


def find_target(name: str, root: Path) -> AnyBoard:
    """Return the board of that name, of either kind.

    Raises:
        InputError: there is none; names the closest one.
    """
    tables = {folder.name: (path, document) for folder, path, document in board_tables(root)}
    if name not in tables:
        raise unknown_board(name, tables)
    path, document = tables[name]
    parse = parse_linux_board if document.get("kind") == LINUX else parse_board
    return parse(document, str(path), name)


def parse_linux_board(document: Mapping[str, Any], where: str, name: str | None) -> LinuxBoard:
    """Return the board a table describes, which must have the name of its folder; None: any name.

    Raises:
        InputError: unknown or missing keys, wrong types or values; all of them at once.
    """
    return value_from(LinuxBoard, document, where, lambda board: wrong_name(board.name, name))
