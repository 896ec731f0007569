"""Boards: what a policy is built for, read from `targets/<board>/board.toml`.

In: TOML, parsed strictly. Out: frozen `Board`s. Every problem of a file is reported in one error;
adding a board touches no Python.
Each number in a board file carries its source as a comment.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from quarl.boards.core import Core, Fpu, Region, Variant
from quarl.boards.cores import CORES
from quarl.boards.uart import Step, Uart, UartKind
from quarl.errors import InputError

BOARD_FILE = "board.toml"
UNKNOWN = "unknown"  # said instead of a number that nobody could check
LINUX = "linux"  # `kind` of a board that quarl.boards.linux reads


@dataclass(frozen=True, slots=True)
class Probe:
    """What the flashing tools call the board's chip; empty where a tool does not know it."""

    pyocd: str  # target name
    openocd: tuple[str, ...]  # configuration files, the adapter's first, and commands between them


@dataclass(frozen=True, slots=True)
class Board:
    """One board: its core, clock and memory, and how a host reaches it."""

    name: str
    title: str
    cpu: str
    fpu: Fpu
    clock_hz: int
    flash: Region
    ram: Region
    # at clock_hz, for an access that no cache or prefetch buffer answers; None: not known
    flash_wait_states: int | None
    # where the vector table must lie, if not at the beginning of the flash
    vectors: Region | None = None
    uart: Uart | None = None  # for the serial link
    probe: Probe | None = None  # for flashing

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
    """Return the boards without an operating system in the folders of `root`, by name, sorted.

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
        yield path.parent, path, read_board_table(path)


def find_board(name: str, root: Path) -> Board:
    """Return the board of that name.

    Raises:
        InputError: there is none; names the closest ones.
    """
    boards = read_boards(root)
    if name not in boards:
        close = get_close_matches(name, boards, 3, 0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else "quarl boards lists them"
        raise InputError(f"no board is called {name!r}: {hint}")
    return boards[name]


def read_board(folder: Path) -> Board:
    """Return the board of one folder, whose name must be the board's."""
    path = folder / BOARD_FILE
    return parse_board(read_board_table(path), str(path), folder.name)


def read_board_table(path: Path) -> dict[str, Any]:
    """Return what a board file says.

    Raises:
        InputError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def parse_board(table: Mapping[str, Any], where: str, name: str) -> Board:
    """Return the board a table describes.

    Raises:
        InputError: unknown or missing keys, wrong types or values; all of them at once.
    """
    reader = Reader(table)
    board = Board(
        name=reader.text("name"),
        title=reader.text("title"),
        cpu=reader.choice("cpu", tuple(CORES)),
        fpu=reader.choice("fpu", get_args(Fpu)),
        clock_hz=reader.number("clock_hz", 1),
        flash=reader.region("flash"),
        ram=reader.region("ram"),
        flash_wait_states=reader.number_or_unknown("flash_wait_states", 0),
        vectors=reader.region("vectors") if "vectors" in table else None,
        uart=reader.uart("uart") if "uart" in table else None,
        probe=reader.probe("probe") if "probe" in table else None,
    )
    problems = reader.problems + reader.unknown([field.name for field in fields(Board)])
    if not problems:
        problems += _contradictions(board, name)
    if problems:
        raise InputError(f"{where}: " + "; ".join(problems))
    return board


def _contradictions(board: Board, name: str) -> list[str]:
    problems = []
    if board.name != name:
        problems.append(
            f"name is {board.name!r}, the folder is called {name!r}: they must be equal"
        )
    if board.fpu not in board.core.variants:
        problems.append(
            f"fpu is {board.fpu!r}, a {board.cpu} has {' or '.join(board.core.variants)}"
        )
    if (
        board.flash.origin < board.ram.origin + board.ram.bytes
        and board.ram.origin < board.flash.origin + board.flash.bytes
    ):
        problems.append("flash and ram overlap")
    return problems


class Reader:
    """Takes values out of a table and collects what is wrong with them."""

    def __init__(self, table: Mapping[str, Any], prefix: str = "") -> None:
        self._table = table
        self._prefix = prefix
        self.problems: list[str] = []

    def text(self, key: str) -> str:
        """Return a text that is not empty."""
        value = self._get(key, str, "a text")
        if value == "":
            self.problems.append(f"{self._prefix}{key} is empty")
        return str(value)

    def choice(self, key: str, allowed: tuple[str, ...]) -> Any:
        """Return one of the allowed texts."""
        value = self._get(key, str, "a text")
        if value is not None and value not in allowed:
            self.problems.append(
                f"{self._prefix}{key} is {value!r}, allowed are {', '.join(allowed)}"
            )
        return value

    def number(self, key: str, least: int) -> int:
        """Return a whole number of at least `least`."""
        value = self._get(key, int, "a whole number")
        if value is None:
            return least
        if value < least:
            self.problems.append(f"{self._prefix}{key} is {value}, must be at least {least}")
        return int(value)

    def number_or_unknown(self, key: str, least: int) -> int | None:
        """Return a whole number of at least `least`, or None where it says "unknown"."""
        return None if self._table.get(key) == UNKNOWN else self.number(key, least)

    def region(self, key: str) -> Region:
        """Return a stretch of memory."""
        inner = Reader(self._get(key, dict, "a table of origin and bytes") or {}, f"{key}.")
        if key not in self._table or not isinstance(self._table[key], dict):
            return Region(0, 1)
        region = Region(inner.number("origin", 0), inner.number("bytes", 1))
        self.problems += inner.problems + inner.unknown(["origin", "bytes"])
        if region.origin + region.bytes > 2**32:
            self.problems.append(f"{key} ends beyond 4 GiB")
        return region

    def uart(self, key: str) -> Uart:
        """Return the serial port a table describes; `core_hz` may be left out where the UART has
        the core's clock.
        """
        inner = self._inner(key, "a table")
        clock_hz = inner.number("clock_hz", 1)
        uart = Uart(
            inner.choice("kind", get_args(UartKind)),
            inner.number("base", 0),
            clock_hz,
            inner.number("core_hz", 1) if "core_hz" in inner._table else clock_hz,
            inner.number("baud", 1),
            inner.text("wiring"),
            inner.steps("setup"),
        )
        self.problems += inner.problems + inner.unknown([field.name for field in fields(Uart)])
        return uart

    def probe(self, key: str) -> Probe:
        """Return what the flashing tools call the chip."""
        inner = self._inner(key, "a table")
        scripts = inner._get("openocd", list, "a list of configuration files")
        if not all(isinstance(script, str) for script in scripts or ()):
            inner.problems.append(f"{key}.openocd is {scripts!r}, must be a list of texts")
        probe = Probe(str(inner._get("pyocd", str, "a text")), tuple(scripts or ()))
        self.problems += inner.problems + inner.unknown([field.name for field in fields(Probe)])
        return probe

    def steps(self, key: str) -> tuple[Step, ...]:
        """Return a list of register accesses."""
        steps = []
        for index, row in enumerate(self._get(key, list, "a list of register accesses") or ()):
            where = f"{self._prefix}{key}[{index}]"
            if not isinstance(row, dict) or ("set" in row) == ("wait" in row):
                self.problems.append(
                    f"{where} is {row!r}, must be a table of set or wait (an address), mask "
                    "and value"
                )
                continue
            inner, address = Reader(row, f"{where}."), "wait" if "wait" in row else "set"
            step = Step(
                "wait" in row,
                inner.number(address, 0),
                inner.number("mask", 0),
                inner.number("value", 0),
            )
            if step.value & ~step.mask or max(step.address, step.mask) >= 2**32 or step.address % 4:
                inner.problems.append(
                    f"{where}: the value must lie under the mask, both in 32 bits, the "
                    "address be a multiple of 4"
                )
            self.problems += inner.problems + inner.unknown([address, "mask", "value"])
            steps.append(step)
        return tuple(steps)

    def _inner(self, key: str, what: str) -> Reader:
        return Reader(self._get(key, dict, what) or {}, f"{key}.")

    def unknown(self, known: list[str]) -> list[str]:
        """Return what is wrong with keys nobody knows."""
        problems = []
        for key in self._table:
            if key not in known:
                close = get_close_matches(key, known, 1)
                problems.append(
                    f"unknown key {self._prefix}{key}"
                    + (f", did you mean {close[0]}?" if close else "")
                )
        return problems

    def _get(self, key: str, kind: type, what: str) -> Any:
        if key not in self._table:
            self.problems.append(f"{self._prefix}{key} is missing")
            return None
        value = self._table[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            self.problems.append(f"{self._prefix}{key} is {value!r}, must be {what}")
            return None
        return value
