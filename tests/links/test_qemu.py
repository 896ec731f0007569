"""Firmware in qemu-system-arm: an independent emulator with the same answers and the same counts,
and the only M55.
"""

from __future__ import annotations

import numpy as np
import pytest

from quarl.boards.core import Fpu
from quarl.boards.cores import CORES
from quarl.firmware.build import GCC, build_image
from quarl.firmware.elf import read_image
from quarl.firmware.image import harness_sources
from quarl.firmware.interface import interface_of
from quarl.firmware.lower import lower
from quarl.firmware.program import Program
from quarl.firmware.source_tree import write_source_tree
from quarl.firmware.sources import kernels_for, program_sources
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import act, integer_outputs, quantize_observations
from quarl.links.count import merged
from quarl.links.firmware_link import open_emulated
from quarl.links.qemu import QemuDevice, emulated_board
from quarl.resources import default_cache_dir
from tests.conftest import need
from tests.support.cores import FULL, board_with, qemu_of
from tests.support.samples import observations, sample


def boot(
    quantized: QuantPolicy, cpu: str, fpu: Fpu, extra: dict[str, bytes] | None = None
) -> QemuDevice:
    need("ziglang", "elftools", "capstone", *qemu_of(cpu))
    board = emulated_board(board_with(cpu, fpu))
    program: Program = lower(quantized, kernels_for(board))
    elf = build_image(
        program_sources(program) | harness_sources(board) | (extra or {}),
        board,
        default_cache_dir(),
    )
    return QemuDevice(
        elf, read_image(elf, board), board, interface_of(program), default_cache_dir()
    )


@pytest.mark.every(3)
@pytest.mark.parametrize(("name", "rung"), [("branches", 3), ("squashed", 5), ("small_images", 0)])
@pytest.mark.parametrize(("cpu", "fpu"), FULL)
def test_every_core_answers_like_the_reference_bit_for_bit(
    cpu: str, fpu: Fpu, name: str, rung: int
) -> None:
    policy, quantized = sample(name, rung)
    device = boot(quantized, cpu, fpu)
    obs = observations(policy, np.random.default_rng(5), 50)
    integers = quantize_observations(quantized, obs)
    np.testing.assert_array_equal(device.run(integers), integer_outputs(quantized, obs))
    np.testing.assert_array_equal(device.decisions(integers), act(quantized, obs))
    if not policy.contract.observation.is_image:
        obs[:7, 0] = [np.nan, np.inf, -np.inf, 1e-40, -0.0, 3e38, -3e38]
        np.testing.assert_array_equal(device.act(obs), act(quantized, obs))


@pytest.mark.parametrize(
    ("cpu", "fpu"), [("cortex-m4", "single"), ("cortex-m0", "none"), ("riscv32-imc", "none")]
)
def test_two_emulators_count_the_same_instructions_and_branches(cpu: str, fpu: Fpu) -> None:
    need("unicorn")
    policy, quantized = sample("stacked_frames", 3)
    board = board_with(cpu, fpu)
    obs = observations(policy, np.random.default_rng(5), 1)
    integers = quantize_observations(quantized, obs)
    ours = boot(quantized, cpu, fpu).count_calls(integers)
    theirs = open_emulated(
        write_source_tree(quantized, board, obs), board, default_cache_dir()
    ).count_calls(integers)
    assert [count.instructions for count in ours] == [count.instructions for count in theirs]
    assert merged(ours).taken_branches == merged(theirs).taken_branches


@pytest.mark.every(3)
@pytest.mark.parametrize(("name", "rung"), [("branches", 3), ("small_images", 5)])
@pytest.mark.parametrize(("cpu", "fpu"), FULL)
def test_arms_gcc_gives_the_same_answers_without_a_warning(
    cpu: str, fpu: Fpu, name: str, rung: int
) -> None:
    need("elftools", "capstone", *qemu_of(cpu), GCC[CORES[cpu].architecture][0])
    policy, quantized = sample(name, rung)
    board = emulated_board(board_with(cpu, fpu))
    program = lower(quantized, kernels_for(board))
    elf = build_image(
        program_sources(program) | harness_sources(board), board, default_cache_dir(), "gcc"
    )
    device = QemuDevice(
        elf, read_image(elf, board), board, interface_of(program), default_cache_dir()
    )
    obs = observations(policy, np.random.default_rng(5), 20)
    np.testing.assert_array_equal(
        device.run(quantize_observations(quantized, obs)), integer_outputs(quantized, obs)
    )
