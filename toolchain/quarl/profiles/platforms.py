"""Which kind of board a board is: the one place that asks."""

from __future__ import annotations

from typing import assert_never, cast, get_args

from quarl.boards.find import board_roots, decode_board, find_target
from quarl.boards.linux import AnyBoard, LinuxBoard
from quarl.boards.microcontroller import Board
from quarl.bundle.manifest import BOARD
from quarl.bundle.release import Release
from quarl.errors import InputError
from quarl.files.tables import did_you_mean
from quarl.links.firmware_link import SERIAL, is_serial
from quarl.links.flash import FlashTool
from quarl.links.target import Target
from quarl.profiles.linux_computer import LinuxComputer
from quarl.profiles.microcontroller import Microcontroller
from quarl.profiles.platform import Platform


def platform_of(board: AnyBoard) -> Platform:
    """Return the board with what its kind can do."""
    match board:
        case Board():
            return Microcontroller(board)
        case LinuxBoard():
            return LinuxComputer(board)
        case _:
            assert_never(board)


def board_of(release: Release) -> AnyBoard | None:
    """Return the board a bundle was exported for, as it was then; None: for none.

    Raises:
        InputError: the bundle's board.json is not one, or another board; without it, no board has
            the name.
    """
    name = release.manifest.board
    if name is None or BOARD not in release.files:
        return None if name is None else find_target(name, board_roots())
    board = decode_board(release.files[BOARD], str(release.folder / BOARD))
    if board.name != name:
        raise InputError(
            f"{release.folder / BOARD}: is of {board.name}, the bundle is for {name}: export the "
            "bundle again"
        )
    return board


def target_of(
    board: AnyBoard,
    link: str | None = None,
    flash: str | None = None,
    *,
    clock_hz: int | None = None,
    trust: bool = False,
) -> Target:
    """Return the target; nothing is connected yet.

    Args:
        link: "unicorn", "qemu-system", "serial:PORT", "probe", "rtt", or for a Raspberry Pi
            "emulated", "ssh:USER@HOST", "local"; None: emulated.
        flash: "pyocd" or "openocd".
        clock_hz: of the core of a real board while it is measured; None: as its file says.
    Raises:
        InputError: there is no such link or tool, the board has none, or a board in an emulator
            is to be flashed.
        ToolMissingError: what the link needs is not installed.
    """
    if flash is not None and flash not in get_args(FlashTool):
        known = get_args(FlashTool)
        raise InputError(
            f"--flash {flash}: must be one of {', '.join(known)}{did_you_mean(flash, known)}"
        )
    if flash is not None and not is_serial(link):
        raise InputError(
            f"--flash {flash}: only a real board is flashed: give --link {SERIAL}PORT as well"
        )
    platform_of(board).check_link(link)
    target = Target(board, link, cast(FlashTool | None, flash), clock_hz, trust)
    if clock_hz is not None and target.real_link is None:
        raise InputError(
            f"--clock-hz {clock_hz}: an emulator counts no time: give a link to a real board"
        )
    return target


def with_firmware(board: AnyBoard, option: str) -> Board:
    """Return the board, one whose firmware is counted in an emulator.

    Raises:
        InputError: it runs Linux; names the option that gave it.
    """
    if not isinstance(board, Board):
        raise InputError(
            f"{option} {board.name}: runs Linux, and no firmware is counted there: quarl profile "
            f"BUNDLE --board {board.name} measures it"
        )
    return board
