"""Every shipped policy on every kind of core: outputs and actions equal the host's on all held-out
observations, bit for bit.

1,000 observations each and 100 of Atari, on a Cortex-M4 in both emulators and on M0, M33, M55 and
RISC-V in QEMU. In the tests that always run a large network takes a few observations, spread over
all of them, on one of the devices; `make test-all` runs all of it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quarl.boards.core import Fpu, Region
from quarl.boards.cores import CORES
from quarl.boards.microcontroller import find_board
from quarl.firmware.build import build_image
from quarl.firmware.elf import read_image
from quarl.firmware.example import with_example
from quarl.firmware.image import harness_sources
from quarl.firmware.interface import interface_of
from quarl.firmware.lower import lower
from quarl.firmware.sources import kernels_for, program_sources
from quarl.graph.reference import quantize_observations
from quarl.graph.shapes import multiply_accumulates
from quarl.links.qemu import QemuDevice, emulated_board
from quarl.links.unicorn import UnicornDevice
from quarl.resources import default_cache_dir, targets_dir
from tests.conftest import need
from tests.support.shipped import IMAGES, VECTORS, Shipped, pairs, shipped

DEVICES: list[tuple[str, str, Fpu]] = [
    ("unicorn", "cortex-m4", "single"),
    ("qemu", "cortex-m4", "single"),
    ("qemu", "cortex-m0", "none"),
    ("qemu", "cortex-m33", "single"),
    ("qemu", "cortex-m55", "double"),
    ("qemu", "riscv32-imc", "none"),
]
QUICK_PRODUCTS = 8_000_000  # that a test which always runs may take on one core
MPS3_DRAM = Region(
    0x6000_0000, 16 << 20
)  # of QEMU's machine with an M55, for what its 2 MB of SRAM cannot hold


def open_device(emulator: str, cpu: str, fpu: Fpu, policy: Shipped) -> UnicornDevice | QemuDevice:
    """Return the policy's firmware in the memory of QEMU's machine with that core, booted; its
    example is replayed there.
    """
    need("ziglang", "elftools", "capstone")
    board = emulated_board(replace(find_board("nucleo_l4r5zi", targets_dir()), cpu=cpu, fpu=fpu))
    program = with_example(lower(policy.policy, kernels_for(board)), policy.heldout)
    if program.table_bytes > board.flash.bytes * 9 // 10:
        if (
            cpu == "cortex-m0"
            # QEMU's only M0 has 256 KB: the same instructions in the other emulator, with an M3's
            # memory
        ):
            m3 = CORES["cortex-m3"].emulation.machine
            emulator, board = (
                "unicorn",
                replace(board, flash=m3.flash, ram=m3.ram),
            )
        elif cpu == "cortex-m55":
            board = replace(board, flash=MPS3_DRAM)
    need("unicorn" if emulator == "unicorn" else board.core.emulation.machine.emulator)
    elf = build_image(program_sources(program) | harness_sources(board), board, default_cache_dir())
    image = read_image(elf, board)
    if emulator == "unicorn":
        return UnicornDevice(image, board, interface_of(program))
    return QemuDevice(elf, image, board, interface_of(program), default_cache_dir())


def check(emulator: str, cpu: str, fpu: Fpu, policy: Shipped) -> None:
    device = open_device(emulator, cpu, fpu, policy)
    integers = quantize_observations(policy.policy, policy.heldout)
    assert device.run(integers).tobytes() == policy.outputs.tobytes()
    actions = device.decisions(integers) if policy.is_image else device.act(policy.heldout)
    np.testing.assert_array_equal(actions, policy.actions)


def label(part: str | tuple[str, str, str]) -> str:
    return part if isinstance(part, str) else "-".join(part[:2])


def quick_count(name: str) -> int | None:
    """Return how many observations a quick test takes; None where it takes all of them."""
    policy = shipped(name, 2)
    count = QUICK_PRODUCTS // multiply_accumulates(policy.policy)
    return None if count >= (IMAGES if policy.is_image else VECTORS) else max(count, 2)


@pytest.mark.every(3)
@pytest.mark.parametrize(("device", "name"), pairs(DEVICES, is_quick=True), ids=label)
def test_a_shipped_policy_answers_on_the_core_as_on_the_host(
    device: tuple[str, str, Fpu], name: str
) -> None:
    check(*device, shipped(name, quick_count(name)))


@pytest.mark.slow
@pytest.mark.parametrize(("device", "name"), pairs(DEVICES, is_quick=False), ids=label)
def test_all_held_out_observations_of_a_shipped_policy_are_answered_as_on_the_host(
    device: tuple[str, str, Fpu], name: str
) -> None:
    check(*device, shipped(name))
