"""Ways to a board without an operating system: two emulators and a serial port.

In: the sources of a firmware, a board, and the words of `--link`. Out: a device, built, booted or
flashed, that answers integers and observations.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from quarl.boards.microcontroller import Board
from quarl.errors import InputError
from quarl.files.tables import did_you_mean
from quarl.firmware.build import build_image
from quarl.firmware.elf import Image, read_image
from quarl.firmware.source_tree import SourceTree
from quarl.links.flash import FlashTool, flash
from quarl.links.probe import PROBE, RTT, PyOcdCore, is_probe, is_rtt, open_channels, open_probe
from quarl.links.qemu import QemuDevice, emulated_board
from quarl.links.rtt import CONTROL_BLOCK, RttPort
from quarl.links.semihosting import HANG_S, SemihostingPort
from quarl.links.serial import SerialDevice, open_port
from quarl.links.unicorn import UnicornDevice

EmulatedDevice: TypeAlias = UnicornDevice | QemuDevice
AnyDevice: TypeAlias = EmulatedDevice | SerialDevice
UNICORN, QEMU = "unicorn", "qemu-system"
EMULATORS = (UNICORN, QEMU)
SERIAL = "serial:"


def is_serial(link: str | None) -> bool:
    """Whether a link leads to a real board."""
    return link is not None and link.startswith(SERIAL)


def serial_path(link: str) -> str:
    """Return the path in `serial:PATH`.

    Raises:
        InputError: another link, or no path.
    """
    if link == SERIAL:
        raise InputError(
            f"--link {SERIAL} names no port: write it behind the colon, {SERIAL}/dev/ttyACM0 or "
            f"{SERIAL}COM3 (python -m serial.tools.list_ports lists those of this computer)"
        )
    if not link.startswith(SERIAL):
        known = (*EMULATORS, PROBE, RTT, SERIAL)
        raise InputError(
            f"--link {link}: must be {', '.join(EMULATORS)}, {PROBE}, {RTT} or {SERIAL}PORT for a "
            f"board without an operating system, for example serial:/dev/ttyACM0"
            f"{did_you_mean(link, known)}"
        )
    return link.removeprefix(SERIAL)


def open_unicorn(tree: SourceTree, board: Board, cache_dir: Path) -> UnicornDevice:
    """Return the firmware, linked for the board, booted in unicorn; errors as `open_emulated`."""
    return UnicornDevice(build_firmware(tree, board, cache_dir), board, tree.interface)


def open_qemu(tree: SourceTree, board: Board, cache_dir: Path) -> QemuDevice:
    """Return the firmware, linked for QEMU's machine with the board's core; see `open_emulated`."""
    machine = emulated_board(board)
    elf = build_image(tree.image_files(machine), machine, cache_dir)
    return QemuDevice(elf, read_image(elf, machine), machine, tree.interface, cache_dir)


_OPEN: dict[str, Callable[[SourceTree, Board, Path], EmulatedDevice]] = {
    UNICORN: open_unicorn,
    QEMU: open_qemu,
}


def open_emulated(
    tree: SourceTree, board: Board, cache_dir: Path, link: str | None = None
) -> EmulatedDevice:
    """Return the firmware, built and booted in an emulator.

    Args:
        link: "unicorn" or "qemu-system"; None: unicorn where it has the core.
    Raises:
        ToolMissingError: no compiler or emulator.
        DeviceError: the sources do not build, or the firmware does not boot.
    """
    return _OPEN[link or default_emulator(board)](tree, board, cache_dir)


def default_emulator(board: Board) -> str:
    """Return the emulator that is used where none is named."""
    return UNICORN if board.core.emulation.unicorn else QEMU


def open_link(tree: SourceTree, board: Board, cache_dir: Path, link: str | None) -> AnyDevice:
    """Return the firmware, booted in an emulator, or the board that was flashed with it before.

    Args:
        link: "unicorn", "qemu-system", "serial:PORT", "probe", "rtt"; None: unicorn where it has
            the core.
    Raises:
        QuarlError: as `open_emulated` and `open_board`.
    """
    if is_serial(link) or is_probe(link):
        assert link is not None
        return open_board(tree, board, link, cache_dir)[0]
    return open_emulated(tree, board, cache_dir, link)


def open_board(
    tree: SourceTree,
    board: Board,
    link: str,
    cache_dir: Path,
    flash_by: FlashTool | None = None,
) -> tuple[SerialDevice, Image]:
    """Return a real board, and the image it runs: over its UART, or through its debug probe, which
    always writes the firmware first.

    Raises:
        QuarlError: as `open_serial` and `quarl.links.probe.open_probe`.
    """
    if not is_probe(link):
        return open_serial(tree, board, serial_path(link), cache_dir, flash_by)
    by_rtt, where = is_rtt(link), f"{board.name} by its probe"
    elf = build_image(tree.image_files(board, "rtt" if by_rtt else "semihosting"), board, cache_dir)
    image = read_image(elf, board)
    core = open_probe(board, elf, link.partition(":")[2] or None)
    port = rtt_port(core, image, where) if by_rtt else SemihostingPort(core, where)
    return SerialDevice(port, link, board, tree.interface), image


def rtt_port(core: PyOcdCore, image: Image, where: str, hang_s: float = HANG_S) -> RttPort:
    """Return the port of a firmware that is halted at its start; it runs from now on.

    Raises:
        DeviceError: it opens no channels.
    """
    core.resume()
    channels = open_channels(core.target, image.symbols[CONTROL_BLOCK].address, where)
    return RttPort(core, channels, where, hang_s)


def open_serial(
    tree: SourceTree,
    board: Board,
    path: str,
    cache_dir: Path,
    flash_by: FlashTool | None = None,
) -> tuple[SerialDevice, Image]:
    """Return the board on a serial port, and the image it was flashed with.

    Args:
        flash_by: the tool that writes the firmware first; None: the board has it.
    Raises:
        InputError: the board file has no [uart] or [probe].
        ToolMissingError: no compiler, pyserial or flashing tool.
        DeviceError: the board or the port does not answer.
    """
    elf = build_image(tree.image_files(board, "uart"), board, cache_dir)
    if flash_by is not None:
        flash(flash_by, board, elf)
    assert board.uart is not None, "image_files asks for it"
    port = open_port(path, board.uart.baud)
    return SerialDevice(port, path, board, tree.interface), read_image(elf, board)


def build_firmware(tree: SourceTree, board: Board, cache_dir: Path) -> Image:
    """Return the linked image for the board; from the cache if nothing has changed."""
    return read_image(build_image(tree.image_files(board), board, cache_dir), board)
