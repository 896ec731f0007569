"""The ways to a board without an operating system: two emulators and a serial port, by the names
the command line knows.

In: a link's name, a policy, a board. Out: an opened device or a profile, of whichever kind the link
gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias, cast, get_args

from numpy.typing import NDArray

from quarl.boards.cortex_m import Board
from quarl.errors import InputError
from quarl.graph.quant_policy import QuantPolicy
from quarl.links.flash import FlashTool
from quarl.links.qemu import QemuDevice
from quarl.links.serial import SerialDevice
from quarl.links.unicorn import UnicornDevice
from quarl.profiles.device import SERIAL, DeviceProfile, open_serial, profile_device, serial_path
from quarl.profiles.emulated import (
    FirmwareProfile,
    open_firmware,
    open_qemu,
    open_unicorn,
    profile_firmware,
    profile_qemu,
    profile_unicorn,
)

AnyDevice: TypeAlias = UnicornDevice | QemuDevice | SerialDevice
EMULATORS = ("unicorn", "qemu-system")


def is_serial(link: str | None) -> bool:
    """Whether a link leads to a real board."""
    return link is not None and link.startswith(SERIAL)


def check_board_link(board: Board, link: str | None, flash_by: str | None) -> None:
    """Check, before any work, that the board has the link, and can be flashed where that is asked.

    Raises:
        InputError: there is no such link or tool, the board has none, or a board in an emulator is
            to be flashed.
    """
    if link is not None and link not in EMULATORS:
        serial_path(link)
        if board.uart is None:
            raise InputError(f"--link {link}: {board.name} has no [uart] in its board file")
    if flash_by is not None:
        if flash_by not in get_args(FlashTool):
            raise InputError(f"--flash {flash_by}: must be one of {', '.join(get_args(FlashTool))}")
        if not is_serial(link):
            raise InputError(
                f"--flash {flash_by}: only a real board is flashed: give --link {SERIAL}PORT "
                "as well"
            )


def open_link(
    policy: QuantPolicy, obs: NDArray[Any], board: Board, cache_dir: Path, link: str | None
) -> AnyDevice:
    """Return the policy's firmware, booted in an emulator, or on a board that was flashed before.

    Args:
        link: "unicorn", "qemu-system", "serial:PORT"; None: unicorn where it has the core.
    Raises:
        QuarlError: as `open_firmware` and `open_serial`.
    """
    check_board_link(board, link, None)
    if link is None:
        return open_firmware(policy, obs, board, cache_dir)
    if is_serial(link):
        return open_serial(policy, obs, board, serial_path(link), cache_dir)[0]
    return (
        open_unicorn(policy, obs, board, cache_dir)
        if link == "unicorn"
        else open_qemu(policy, obs, board, cache_dir)
    )


def profile_emulated(
    policy: QuantPolicy, obs: NDArray[Any], board: Board, cache_dir: Path, link: str | None
) -> FirmwareProfile:
    """Return the profile of an emulator; arguments and errors as `profile_firmware`."""
    check_board_link(board, link, None)
    profiles = {None: profile_firmware, "unicorn": profile_unicorn, "qemu-system": profile_qemu}
    return profiles[link](policy, obs, board, cache_dir)


def profile_over_serial(
    policy: QuantPolicy,
    obs: NDArray[Any],
    board: Board,
    cache_dir: Path,
    link: str,
    flash_by: str | None,
) -> DeviceProfile:
    """Return the profile of a board on a serial port; errors as `open_serial`."""
    check_board_link(board, link, flash_by)
    return profile_device(
        policy, obs, board, serial_path(link), cache_dir, cast(FlashTool | None, flash_by)
    )
