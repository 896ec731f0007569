"""Builds a policy for a core and runs it there: in unicorn, or in QEMU where it must be."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from quarl.boards.cores import CORES
from quarl.boards.microcontroller import Board
from quarl.firmware.build import GCC, build_image
from quarl.firmware.elf import read_image
from quarl.firmware.image import CompilerName, harness_sources
from quarl.firmware.interface import Interface, interface_of
from quarl.firmware.lower import lower
from quarl.firmware.sources import kernels_for, program_sources
from quarl.graph.quant_policy import QuantPolicy
from quarl.links.qemu import QemuDevice, emulated_board
from quarl.links.unicorn import UnicornDevice
from quarl.resources import default_cache_dir
from tests.conftest import need
from tests.support.cores import board_with


def on_a_core(
    policy: QuantPolicy, cpu: str, integers: NDArray[Any], compiler: CompilerName = "zig"
) -> NDArray[Any]:
    """Return the outputs of a policy's firmware for graph inputs [n, ...]."""
    core = CORES[cpu]
    gcc, _ = GCC[core.architecture]
    need("unicorn", "elftools", "capstone", "ziglang" if compiler == "zig" else gcc)
    board = board_with(cpu, [*core.variants][-1])
    if not core.emulation.unicorn:
        return _in_qemu(policy, emulated_board(board), integers, compiler)
    elf, interface = _built(policy, board, compiler)
    return UnicornDevice(read_image(elf, board), board, interface).run(integers)


def _built(policy: QuantPolicy, board: Board, compiler: CompilerName) -> tuple[bytes, Interface]:
    program = lower(policy, kernels_for(board))
    files = program_sources(program) | harness_sources(board)
    return build_image(files, board, default_cache_dir(), compiler), interface_of(program)


def _in_qemu(
    policy: QuantPolicy, board: Board, integers: NDArray[Any], compiler: CompilerName
) -> NDArray[Any]:
    need(board.core.emulation.machine.emulator)
    elf, interface = _built(policy, board, compiler)
    image = read_image(elf, board)
    return QemuDevice(elf, image, board, interface, default_cache_dir()).run(integers)
