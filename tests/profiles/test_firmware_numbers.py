"""What the firmware costs on the shapes that published runtimes were measured on. Emulated counts
repeat exactly.

Peers on the same shapes, Cortex-M4 (toolchain/docs/firmware.md): TFLM + CMSIS-NN needs 19,944,
162,300 and 18.23 M instructions.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarl.boards.core import Fpu
from quarl.boards.microcontroller import Board, find_board
from quarl.firmware.build import build_image
from quarl.firmware.elf import Image, read_image
from quarl.firmware.image import harness_sources
from quarl.firmware.lower import lower
from quarl.firmware.program import Program
from quarl.firmware.sources import program_sources
from quarl.profiles.emulated import FirmwareProfile, profile_qemu, profile_unicorn
from quarl.resources import default_cache_dir, targets_dir
from tests.conftest import need
from tests.support.random_policies import Builder, QuantTensor
from tests.support.riscv_counts import plain_count, tuned_count
from tests.support.samples import observations, sample
from tests.support.workloads import workload_for

M4, M3, M0 = ("cortex-m4", "single"), ("cortex-m3", "none"), ("cortex-m0", "none")


def board_with(core: tuple[str, Fpu]) -> Board:
    need("ziglang", "unicorn", "elftools", "capstone")
    return replace(find_board("nucleo_l4r5zi", targets_dir()), cpu=core[0], fpu=core[1])


def built(name: str, rung: int) -> tuple[Program, Image]:
    """Return an M4 firmware without the example that a bundle's has."""
    board = board_with(M4)
    program = lower(sample(name, rung)[1], "dsp")
    return program, read_image(
        build_image(program_sources(program) | harness_sources(board), board, default_cache_dir()),
        board,
    )


@pytest.mark.parametrize(
    ("name", "core", "most_instructions", "most_cycles"),
    [
        ("mlp", M4, 8_200, 12_300),
        ("mlp256", M4, 75_000, 110_000),
        ("nature", M4, 8_000_000, 11_000_000),
        ("mlp", M3, 22_500, 36_000),
        ("mlp256", M3, 200_000, 315_000),
        ("mlp", M0, 37_000, 52_000),
        ("mlp256", M0, 320_000, 440_000),
    ],
)
def test_an_inference_stays_within_its_instructions(
    name: str, core: tuple[str, Fpu], most_instructions: int, most_cycles: int
) -> None:
    policy, quantized = sample(name, 0)
    profile = profile_unicorn(
        workload_for(
            quantized, observations(policy, np.random.default_rng(3), 2), board_with(core)
        ),
        board_with(core),
        default_cache_dir(),
    )
    assert profile.differing == 0
    assert profile.instructions <= most_instructions
    assert profile.cycles is not None
    assert profile.cycles.mid <= most_cycles


def test_a_depthwise_layer_takes_few_instructions_a_product() -> None:
    """3x3 over 12x12x32, padded: 10.5 with the portable kernel; 0.9 of it are stores."""
    rng = np.random.default_rng(0)
    builder = Builder(rng, (12, 12, 32), QuantTensor(np.float32(1 / 255), -128))
    builder.window("depthwise", 0, (3, 3), (1, 1), ((1, 1), (1, 1)), builder.output())
    builder.flatten()
    builder.dense(2, builder.output())
    quantized = builder.build()
    obs = rng.integers(0, 256, (2, 12, 12, 32)).astype(np.uint8)
    workload = workload_for(quantized, obs, board_with(M4))
    profile = profile_unicorn(workload, board_with(M4), default_cache_dir())
    assert profile.differing == 0
    assert profile.layers[0].instructions <= 4.5 * 12 * 12 * 32 * 9


def profile_of(name: str, core: tuple[str, Fpu], weights: str) -> FirmwareProfile:
    policy, quantized = sample(name, 0, weights=weights)
    obs = observations(policy, np.random.default_rng(3), 1)
    workload = workload_for(quantized, obs, board_with(core))
    return profile_unicorn(workload, board_with(core), default_cache_dir())


@pytest.mark.parametrize("name", ["mlp", "mlp256", "nature"])
def test_weights_of_four_bits_cost_a_tenth_more_instructions_at_most(name: str) -> None:
    int8, int4 = (profile_of(name, M4, weights) for weights in ("int8", "int4"))
    assert int4.differing == 0
    assert int4.instructions <= 1.1 * int8.instructions
    assert int4.table_bytes < int8.table_bytes


@pytest.mark.parametrize(
    ("name", "core", "most"),
    [("mlp256", M4, 0.8), ("nature", M4, 0.82), ("mlp256", M3, 0.82), ("mlp256", M0, 0.96)],
)
def test_weights_of_two_bits_take_a_quarter_of_the_flash_and_few_instructions(
    name: str, core: tuple[str, Fpu], most: float
) -> None:
    int8, int2 = (profile_of(name, core, weights) for weights in ("int8", "int2"))
    assert int2.differing == 0
    assert int2.instructions <= most * int8.instructions
    inner = 256 * 256 if name == "mlp256" else 64 * 512 + 64 * 576 + 512 * 3136
    assert int8.table_bytes - int2.table_bytes >= inner * 3 // 4


@pytest.mark.parametrize(
    ("name", "most"), [("mlp", 2_900), ("mlp256", 19_200), ("nature", 1_410_000)]
)
def test_helium_makes_an_inference_short(name: str, most: int) -> None:
    """Peers on this core: 11,020, 82,332 and 3.73 M instructions."""
    need("qemu-system-arm", "gcc", "ziglang", "elftools", "capstone")
    policy, quantized = sample(name, 0)
    obs = observations(policy, np.random.default_rng(3), 2)
    profile = profile_qemu(
        workload_for(quantized, obs, find_board("mps3_an547", targets_dir())),
        find_board("mps3_an547", targets_dir()),
        default_cache_dir(),
    )
    assert profile.differing == 0
    assert profile.instructions <= most


def test_a_small_network_is_a_small_firmware() -> None:
    program, image = built("mlp", 0)
    assert image.flash_bytes <= 10_100  # whole firmware: start-up, harness, kernels, tables
    assert image.flash_bytes - program.table_bytes <= 2_700


def test_the_nature_network_runs_in_30000_bytes_of_tensors_with_every_family_of_kernels() -> None:
    program, image = built("nature", 0)
    assert program.plan.arena_bytes <= 30_000
    assert image.ram_bytes <= 30_100


def test_no_multiply_add_is_fused() -> None:
    """A fused multiply-add rounds once where the rule rounds twice; the compiler must never make
    one.
    """
    from capstone import CS_ARCH_ARM, CS_MODE_MCLASS, CS_MODE_THUMB, Cs  # type: ignore[import-untyped]

    for name, rung in (("squashed", 3), ("branches", 4), ("tanh_mlp", 0)):
        _, image = built(name, rung)
        machine = Cs(CS_ARCH_ARM, CS_MODE_THUMB | CS_MODE_MCLASS)
        code = {s.address: s.content for s in image.segments}
        start, content = next(iter(code.items()))
        functions = [
            s
            for n, s in image.symbols.items()
            if n.startswith("ql_") and s.bytes and start <= s.address < start + len(content)
        ]
        mnemonics = [
            i.mnemonic
            for symbol in functions
            for i in machine.disasm(
                content[symbol.address - start : symbol.address - start + symbol.bytes],
                symbol.address,
            )
        ]
        assert any(m.startswith("vmul") for m in mnemonics)
        assert not [
            m for m in mnemonics if m.startswith(("vfma", "vfms", "vmla", "vmls", "vfnm", "vnml"))
        ]


def test_a_product_on_risc_v_takes_at_most_two_thirds_of_plain_c_at_o2(tmp_path: Path) -> None:
    need("ziglang", "unicorn", "elftools", "capstone")
    ours = tuned_count("mlp256", default_cache_dir())
    assert ours <= 4.0 * 71_424
    assert ours <= plain_count("mlp256", tmp_path) / 1.5
