"""Writes a policy as C: its tables and calls, and the kernels they use, in one folder that a user's
project can copy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from quarl.boards.core import Kernels
from quarl.boards.cortex_m import Board, read_boards
from quarl.firmware.example import with_example
from quarl.firmware.fit import check_fit
from quarl.firmware.image import harness_sources, uart_sources
from quarl.firmware.lower import lower
from quarl.firmware.names import DEFAULT_PREFIX, OWN, Names
from quarl.firmware.program import Program
from quarl.firmware.render import render_check, render_source
from quarl.firmware.render_header import render_header, render_served
from quarl.firmware.runtime import runtime_files
from quarl.graph.quant_policy import QuantPolicy
from quarl.resources import firmware_dir, targets_dir

POLICY_FOLDER, HARNESS_FOLDER, UART_FOLDER, FREESTANDING_FOLDER = (
    "policy",
    "harness",
    "uart",
    "freestanding",
)


def write_firmware(
    policy: QuantPolicy, board: Board | None, obs: NDArray[Any], prefix: str = DEFAULT_PREFIX
) -> dict[str, bytes]:
    """Return path -> bytes of the firmware's C sources, sorted.

    `policy/` is what a user's own firmware needs, all of it. With a board, `harness/` makes a
    firmware of it that answers frames over semihosting, `uart/` holds what takes that port's place
    on a serial line, where the board file knows one, and `freestanding/` the few functions of a C
    library for a compiler that comes without one.

    Args:
        obs: observations [n, *shape] in environment units; the first ones become the example that
            is replayed at boot.
        prefix: what the policy's functions, types, macros and files are called.
    Raises:
        BudgetError: the policy does not fit the board.
        InputError: the prefix is not possible.
        UnsupportedError, QuantizationError: see `quarl.firmware.lower`.
    """
    named = replace(lower(policy, kernels_for(board)), names=Names(prefix))
    program = with_example(named, obs)
    folders = {POLICY_FOLDER: program_sources(program)}
    if board is not None:
        check_fit(program, board, read_boards(targets_dir()).values())
        folders[HARNESS_FOLDER] = harness_sources(board) | served_header(program)
        if board.uart is not None:
            folders[UART_FOLDER] = uart_sources(board)
        freestanding = (firmware_dir() / "freestanding").iterdir()
        folders[FREESTANDING_FOLDER] = {path.name: path.read_bytes() for path in freestanding}
    return {
        f"{folder}/{name}": content
        for folder, files in sorted(folders.items())
        for name, content in sorted(files.items())
    }


def served_header(program: Program) -> dict[str, bytes]:
    """Return what the harness needs to serve a policy by names of its own; nothing for ours."""
    return {} if program.names == OWN else {OWN.header: render_served(program.names).encode()}


def kernels_for(board: Board | None) -> Kernels:
    """Return the family of kernels a board's core runs fastest; without a board the portable one,
    which runs everywhere.
    """
    return "portable" if board is None else board.variant.kernels


def policy_sources(policy: QuantPolicy, kernels: Kernels) -> dict[str, bytes]:
    """Return name -> bytes of the policy's C files and of every runtime file they need, sorted by
    name.

    Raises:
        UnsupportedError, QuantizationError: see `quarl.firmware.lower`.
    """
    return program_sources(lower(policy, kernels))


def program_sources(program: Program) -> dict[str, bytes]:
    """Return name -> bytes of the C files of a program; compiling every `.c` among them gives the
    policy.
    """
    names = program.names
    files = {
        names.header: render_header(program).encode(),
        names.source: render_source(program).encode(),
    }
    if program.example is not None:
        files[names.check] = render_check(program, program.example).encode()
    files |= runtime_files(program.functions, program.kernels)
    return dict(sorted(files.items()))
