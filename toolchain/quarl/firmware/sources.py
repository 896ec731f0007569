"""Writes a policy as C: its tables and calls, and the kernels they use, in one folder that a user's
project can copy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from quarl.boards.core import Kernels
from quarl.boards.cortex_m import Board, read_boards
from quarl.firmware.example import with_example
from quarl.firmware.fit import check_fit
from quarl.firmware.image import harness_sources, uart_sources
from quarl.firmware.lower import lower
from quarl.firmware.program import Program
from quarl.firmware.render import render_check, render_header, render_source
from quarl.graph.quant_policy import QuantPolicy
from quarl.resources import firmware_dir, targets_dir

IDENTIFIER = re.compile(r"\bql_\w+")
INCLUDE = re.compile(r'#include "(ql_\w+\.h)"')


POLICY_FOLDER, HARNESS_FOLDER, UART_FOLDER, FREESTANDING_FOLDER = (
    "policy",
    "harness",
    "uart",
    "freestanding",
)


def write_firmware(policy: QuantPolicy, board: Board | None, obs: NDArray[Any]) -> dict[str, bytes]:
    """Return path -> bytes of the firmware's C sources, sorted.

    `policy/` is what a user's own firmware needs, all of it. With a board, `harness/` makes a
    firmware of it that answers frames over semihosting, `uart/` holds what takes that port's place
    on a serial line, where the board file knows one, and `freestanding/` the few functions of a C
    library for a compiler that comes without one.

    Args:
        obs: observations [n, *shape] in environment units; the first ones become the example that
            is replayed at boot.
    Raises:
        BudgetError: the policy does not fit the board.
        UnsupportedError, QuantizationError: see `quarl.firmware.lower`.
    """
    program = with_example(lower(policy, kernels_for(board)), obs)
    files = {
        f"{POLICY_FOLDER}/{name}": content for name, content in program_sources(program).items()
    }
    if board is not None:
        check_fit(program, board, read_boards(targets_dir()).values())
        files |= {
            f"{HARNESS_FOLDER}/{name}": content for name, content in harness_sources(board).items()
        }
        if board.uart is not None:
            files |= {
                f"{UART_FOLDER}/{name}": content for name, content in uart_sources(board).items()
            }
        freestanding = (
            path for path in (firmware_dir() / "freestanding").iterdir() if path.is_file()
        )
        files |= {f"{FREESTANDING_FOLDER}/{path.name}": path.read_bytes() for path in freestanding}
    return dict(sorted(files.items()))


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
    """Return name -> bytes of the C files of a program; compiling every `.c` and `.S` among them
    gives the policy.
    """
    files = {
        "ql_policy.h": render_header(program).encode(),
        "ql_policy.c": render_source(program).encode(),
    }
    if program.example is not None:
        files["ql_policy_check.c"] = render_check(program, program.example).encode()
    files |= runtime_files("".join(text.decode() for text in files.values()))
    return dict(sorted(files.items()))


def runtime_files(text: str) -> Mapping[str, bytes]:
    """Return name -> bytes of the kernels that `text` calls, of those they call, and of all their
    headers.
    """
    root = firmware_dir()
    kernels = {
        path.stem: path for path in (root / "kernels").rglob("*") if path.suffix in (".c", ".S")
    }
    found: dict[str, bytes] = {}
    pending = [text]
    while pending:
        source = pending.pop()
        wanted = [
            root / "include" / name
            for name in INCLUDE.findall(source)
            if (root / "include" / name).is_file()
        ]
        wanted += [kernels[name] for name in IDENTIFIER.findall(_body(source)) if name in kernels]
        for path in wanted:
            if path.name not in found:
                found[path.name] = _read(path)
                pending.append(found[path.name].decode())
    return found


def _body(source: str) -> str:
    """Return the source without comments and prototypes, so that a file names no kernel it does not
    call.
    """
    source = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
    return re.sub(r"^\w[^\n{}=]*\([^\n{}]*\);$", "", source, flags=re.MULTILINE)


def _read(path: Path) -> bytes:
    return path.read_bytes()
