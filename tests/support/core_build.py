"""Builds a policy for a Cortex-M and runs it there, in unicorn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from quarl.boards.cortex_m import find_board
from quarl.firmware.build import build_image
from quarl.firmware.elf import read_image
from quarl.firmware.image import CompilerName, harness_sources
from quarl.firmware.interface import interface_of
from quarl.firmware.lower import lower
from quarl.firmware.sources import kernels_for, program_sources
from quarl.graph.quant_policy import QuantPolicy
from quarl.links.unicorn import UnicornDevice
from quarl.resources import default_cache_dir, targets_dir
from tests.conftest import need

WITH_FPU = ("cortex-m4", "cortex-m33")


def on_a_core(
    policy: QuantPolicy, cpu: str, integers: NDArray[Any], compiler: CompilerName = "zig"
) -> NDArray[Any]:
    """Return the outputs of a policy's firmware for graph inputs [n, ...]."""
    need("unicorn", "elftools", "capstone", "ziglang" if compiler == "zig" else "arm-none-eabi-gcc")
    board = find_board("nucleo_l4r5zi", targets_dir())
    board = replace(board, cpu=cpu, fpu="single" if cpu in WITH_FPU else "none")
    program = lower(policy, kernels_for(board))
    files = program_sources(program) | harness_sources(board)
    elf = build_image(files, board, default_cache_dir(), compiler)
    return UnicornDevice(read_image(elf, board), board, interface_of(program)).run(integers)
