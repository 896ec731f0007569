"""Microcontroller boards: what firmware is built for, read from `targets/<board>/board.toml`.

In: TOML, read strictly. Out: frozen `Board`s. Adding a board touches no Python; its keys are
described in toolchain/docs/boards.md. Each number in a board file carries its source as a comment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from quarl.boards.core import Core, Fpu, Region, Variant
from quarl.boards.cores import CORES
from quarl.boards.uart import Uart
from quarl.errors import InputError
from quarl.files.tables import (
    Count,
    OneOf,
    Text,
    Whole,
    did_you_mean,
    table,
    value_from,
)
from quarl.files.toml import read_toml

BOARD_FILE = "board.toml"
LINUX = "linux"  # `kind` of a board that quarl.boards.linux reads
ADDRESSES = 2**32


@table
@dataclass(frozen=True, slots=True)
class Probe:
    """What the flashing tools call the board's chip; empty where a tool does not know it."""

    pyocd: Annotated[str, Field(description="pyOCD's name of the target")]
    openocd: Annotated[
        tuple[str, ...],
        Field(description="OpenOCD's files, the adapter's first, and commands between them"),
    ]


@table
@dataclass(frozen=True, slots=True)
class FlashCache:
    """A cache between the core and external flash. What it holds costs nothing."""

    bytes: Annotated[Count, Field(description="what it holds")]
    line: Annotated[Count, Field(description="bytes that are fetched at once")]
    fill_cycles: Annotated[Count, Field(description="of the core, at clock_hz, to fetch a line")]


@table
@dataclass(frozen=True, slots=True)
class Board:
    """One microcontroller board: its core, clock and memory, and how a host reaches it."""

    name: Annotated[Text, Field(description="the name of the board's folder")]
    title: Annotated[Text, Field(description="for people")]
    cpu: Annotated[str, OneOf(CORES), Field(description="the core")]
    fpu: Annotated[Fpu, Field(description="the core's floating-point unit")]
    clock_hz: Annotated[Count, Field(description="the core's clock in the product")]
    flash: Annotated[Region, Field(description="where code and weights go")]
    ram: Annotated[Region, Field(description="where variables, tensors and stack go")]
    flash_wait_states: Annotated[
        Whole | Literal["unknown"],
        Field(description="at clock_hz, for an access that no cache or prefetch buffer answers"),
    ]
    flash_cache: Annotated[
        FlashCache | None, Field(description="where code runs from external flash through a cache")
    ] = None
    vectors: Annotated[
        Region | None,
        Field(description="where the vector table must lie, if not at the start of the flash"),
    ] = None
    uart: Annotated[Uart | None, Field(description="for the serial link")] = None
    probe: Annotated[Probe | None, Field(description="for flashing")] = None

    @property
    def core(self) -> Core:
        """What is known of the board's core."""
        return CORES[self.cpu]

    @property
    def variant(self) -> Variant:
        """How the board's core is built, with or without an FPU."""
        return self.core.variants[self.fpu]

    @property
    def has_fpu(self) -> bool:
        """Whether floats are computed by hardware."""
        return self.fpu != "none"


def read_boards(root: Path) -> dict[str, Board]:
    """Return the microcontroller boards in the folders of `root`, by name, sorted.

    Raises:
        InputError: a board file that is wrong; lists all its problems.
    """
    return {
        folder.name: parse_board(table, str(path), folder.name)
        for folder, path, table in board_tables(root)
        if table.get("kind") != LINUX
    }


def board_tables(root: Path) -> Iterator[tuple[Path, Path, dict[str, Any]]]:
    """Yield the folder, file and table of every board in the folders of `root`, by name, sorted."""
    for path in sorted(root.glob(f"*/{BOARD_FILE}")):
        yield path.parent, path, read_toml(path)


def find_board(name: str, root: Path) -> Board:
    """Return the microcontroller board of that name.

    Raises:
        InputError: there is none; names the closest one.
    """
    boards = read_boards(root)
    if name not in boards:
        raise unknown_board(name, boards)
    return boards[name]


def unknown_board(name: str, known: Mapping[str, object]) -> InputError:
    """Return the error for a name that no board has."""
    hint = did_you_mean(name, known).strip(" ()") or "quarl boards lists them"
    return InputError(f"no board is called {name!r}: {hint}")


def parse_board(document: Mapping[str, Any], where: str, name: str | None) -> Board:
    """Return the board a table describes, which must have the name of its folder; None: any name.

    Raises:
        InputError: unknown or missing keys, wrong types or values; all of them at once.
    """
    return value_from(Board, document, where, lambda board: _contradictions(board, name))


def _contradictions(board: Board, name: str | None) -> list[str]:
    problems = wrong_name(board.name, name)
    if board.fpu not in board.core.variants:
        allowed = ", ".join(board.core.variants)
        problems.append(f"fpu: {board.fpu!r}; a {board.cpu} has: {allowed}")
    regions = {"flash": board.flash, "ram": board.ram, "vectors": board.vectors}
    for key, region in regions.items():
        if region is not None and region.end > ADDRESSES:
            problems.append(f"{key}: ends at 0x{region.end:X}, beyond 4 GiB")
    if board.flash.origin < board.ram.end and board.ram.origin < board.flash.end:
        problems.append("flash, ram: they overlap")
    return problems


def wrong_name(name: str, folder: str | None) -> list[str]:
    """Return what is wrong with a board's name beside its folder's; None: nothing can be."""
    if folder is None or name == folder:
        return []
    return [f"name: {name!r}; the folder is called {folder!r}"]
