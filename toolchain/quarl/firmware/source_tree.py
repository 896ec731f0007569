"""The firmware folder of a bundle: C sources in folders, ready to build, and their interface.

policy/        what a user's own firmware needs, all of it
harness/       a Cortex-M board: makes a firmware of it that answers frames over semihosting
uart/          takes that port's place on a serial line, where the board file knows one
freestanding/  the few functions of a C library for a compiler that comes without one
linux/         a board that runs Linux: makes a program of it
interface.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from quarl.boards.microcontroller import Board, read_boards
from quarl.errors import InputError
from quarl.files.digests import digests
from quarl.firmware.example import with_example
from quarl.firmware.fit import check_fit
from quarl.firmware.image import (
    LINKER_SCRIPT,
    PORT,
    PortName,
    bare_port_sources,
    harness_sources,
    linker_script,
    uart_sources,
)
from quarl.firmware.interface import INTERFACE_FILE, Interface, interface_from, interface_of
from quarl.firmware.linux import linux_program, port_sources
from quarl.firmware.lower import lower
from quarl.firmware.names import DEFAULT_PREFIX, Names
from quarl.firmware.program import Program
from quarl.firmware.sources import kernels_for, program_sources, served_header
from quarl.graph.contract import Contract
from quarl.graph.quant_policy import QuantPolicy
from quarl.resources import firmware_dir, targets_dir

POLICY, HARNESS, UART, FREESTANDING, LINUX = "policy", "harness", "uart", "freestanding", "linux"


@dataclass(frozen=True, slots=True, eq=False)
class SourceTree:
    """C sources by their path in the firmware folder, and the interface of what they build."""

    files: Mapping[str, bytes]
    interface: Interface

    def folder(self, name: str) -> dict[str, bytes]:
        """Return name -> bytes of the files in one folder."""
        head = f"{name}/"
        return {
            path.removeprefix(head): data
            for path, data in self.files.items()
            if path.startswith(head)
        }

    def image_files(self, board: Board, port: PortName = "semihosting") -> dict[str, bytes]:
        """Return name -> bytes of all that an image for a board is built from.

        Args:
            board: whose memory the image is linked for; the board of the tree, or the machine of
                an emulator with its core.
        Raises:
            InputError: the tree has no harness, or no files for the port.
        """
        harness, uart = self.folder(HARNESS), self.folder(UART)
        if not harness:
            raise InputError("the firmware has no harness/: export the bundle with --board NAME")
        if port == "uart":
            if not uart:
                raise InputError(
                    f"{board.name}: the board file has no [uart], which the serial link needs"
                )
            harness = {name: data for name, data in harness.items() if name != PORT} | uart
        elif port == "rtt":  # not part of a bundle: a port has nothing of the policy
            harness = {name: data for name, data in harness.items() if name != PORT}
            harness |= bare_port_sources(board, port)
        harness[LINKER_SCRIPT] = linker_script(board).encode()
        return self.folder(POLICY) | harness

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each file, by its path in the firmware folder."""
        return digests(self.files)


def write_source_tree(
    policy: QuantPolicy,
    board: Board | None,
    obs: NDArray[Any],
    prefix: str = DEFAULT_PREFIX,
) -> SourceTree:
    """Return the sources of a policy's firmware for a microcontroller.

    Args:
        board: whose core the kernels are for, and what is built around them; None: the portable
            kernels alone.
        obs: observations [n, *shape] in environment units, n >= 1; the first ones become the
            example that is replayed at boot.
        prefix: what the policy's functions, types, macros and files are called.
    Raises:
        InputError: no observations, or a prefix that is not possible.
        BudgetError: the policy does not fit the board.
        UnsupportedError, QuantizationError: see `quarl.firmware.lower`.
    """
    if not len(obs):
        raise InputError("firmware: no observations to make its example of: give at least one")
    named = replace(lower(policy, kernels_for(board)), names=Names(prefix))
    program = with_example(named, obs)
    return _tree_of(program, {} if board is None else _board_folders(board, program))


def write_portable(
    policy: QuantPolicy, obs: NDArray[Any], prefix: str = DEFAULT_PREFIX
) -> SourceTree:
    """Return the sources for no board: kernels that run on every core; as `write_source_tree`."""
    return write_source_tree(policy, None, obs, prefix)


def write_linux_tree(
    policy: QuantPolicy, core: str, obs: NDArray[Any], prefix: str = DEFAULT_PREFIX
) -> SourceTree:
    """Return the sources of a policy's Linux program for a core; arguments and errors as
    `write_source_tree`.
    """
    program = replace(linux_program(policy, obs, core), names=Names(prefix))
    return _tree_of(program, {LINUX: port_sources() | served_header(program)})


def _tree_of(program: Program, around: Mapping[str, Mapping[str, bytes]]) -> SourceTree:
    """Return the tree of a program and of the folders around it."""
    folders = {**around, POLICY: program_sources(program)}
    interface = interface_of(program)
    files = {
        f"{folder}/{name}": data for folder in folders for name, data in folders[folder].items()
    }
    return SourceTree(
        dict(sorted({**files, INTERFACE_FILE: interface.to_json()}.items())), interface
    )


def source_tree_from(files: Mapping[str, bytes], contract: Contract, where: str) -> SourceTree:
    """Return the tree of a bundle's firmware folder; `where` names it in messages.

    Raises:
        InputError: there is no interface, or it is not one.
    """
    if INTERFACE_FILE not in files:
        raise InputError(
            f"{where}: holds no {INTERFACE_FILE}: the bundle has no firmware; export it with "
            "--board NAME"
        )
    interface = interface_from(files[INTERFACE_FILE], contract, f"{where}/{INTERFACE_FILE}")
    return SourceTree(files, interface)


def _board_folders(board: Board, program: Program) -> dict[str, dict[str, bytes]]:
    check_fit(program, board, read_boards(targets_dir()).values())
    folders = {HARNESS: harness_sources(board) | served_header(program)}
    if board.uart is not None:
        folders[UART] = uart_sources(board)
    paths = (path for path in (firmware_dir() / FREESTANDING).iterdir() if path.is_file())
    return folders | {FREESTANDING: {path.name: path.read_bytes() for path in paths}}
