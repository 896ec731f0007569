"""The cores the tests run on: all of `quarl.boards.cores`, each as its boards have it."""

from __future__ import annotations

from dataclasses import replace

from quarl.boards.core import Fpu
from quarl.boards.cores import CORES, LINUX_CORES
from quarl.boards.microcontroller import Board, find_board
from quarl.resources import targets_dir

FULL: tuple[tuple[str, Fpu], ...] = tuple(
    (core.name, [*core.variants][-1]) for core in CORES.values()
)
IN_UNICORN = tuple((cpu, fpu) for cpu, fpu in FULL if CORES[cpu].emulation.unicorn)
PI_CORES = tuple(name for name, core in LINUX_CORES.items() if core.cpuinfo is not None)


def board_with(cpu: str, fpu: Fpu) -> Board:
    """Return a board of plenty of memory with that core."""
    return replace(find_board("nucleo_l4r5zi", targets_dir()), cpu=cpu, fpu=fpu)


def qemu_of(cpu: str) -> tuple[str, str]:
    """Return the programs that run and count a core's firmware: an emulator, and the compiler of
    its plugin.
    """
    return CORES[cpu].emulation.machine.emulator, "gcc"
