"""Writes a policy as C: its tables and calls, and the kernels they use, in one folder that a user's
project can copy.
"""

from __future__ import annotations

from quarl.boards.core import Kernels
from quarl.boards.microcontroller import Board
from quarl.firmware.lower import lower
from quarl.firmware.names import OWN
from quarl.firmware.program import Program
from quarl.firmware.render import render_check, render_source
from quarl.firmware.render_header import render_header, render_served
from quarl.firmware.runtime import runtime_files
from quarl.graph.quant_policy import QuantPolicy


def served_header(program: Program) -> dict[str, bytes]:
    """Return what the harness needs to serve a policy by names of its own; nothing for ours."""
    if program.names == OWN:
        return {}
    text = render_served(program.names, is_recurrent=program.records is not None)
    return {OWN.header: text.encode()}


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
