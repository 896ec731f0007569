from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarl.boards.microcontroller import Board, find_board, read_boards
from quarl.errors import BudgetError, DeviceError, InputError
from quarl.firmware.build import build_image
from quarl.firmware.elf import read_image
from quarl.firmware.example import with_example
from quarl.firmware.fit import check_fit, flash_needed, ram_needed
from quarl.firmware.image import harness_sources
from quarl.firmware.interface import interface_of
from quarl.firmware.lower import lower
from quarl.firmware.source_tree import write_source_tree
from quarl.firmware.sources import program_sources
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import act, integer_outputs, quantize_observations
from quarl.importers import ImportOptions
from quarl.links.count import Block, Count
from quarl.links.firmware_link import open_emulated
from quarl.links.unicorn import UnicornDevice
from quarl.profiles.cycles import cycle_assumptions, estimate_cycles
from quarl.profiles.emulated import (
    FirmwareProfile,
    firmware_profile_from,
    profile_emulated,
    profile_qemu,
    profile_unicorn,
)
from quarl.quantize.ladder import DEFAULT_RUNG, quantize_on_rung
from quarl.resources import default_cache_dir, models_dir, targets_dir
from quarl.sources.observations import observations_of
from quarl.sources.source import open_source
from quarl.tools import run
from tests.conftest import need
from tests.support.samples import observations, sample
from tests.support.workloads import workload_for

TOOLS = ("ziglang", "unicorn", "elftools", "capstone")
SHIPPED = sorted(path.parent.name for path in models_dir().glob("*/policy.*"))
BOARDS_OF = {"nav_dqn_large": ("rp2350",)}  # needs 3 MB of flash


def board(name: str) -> Board:
    return find_board(name, targets_dir())


@pytest.fixture(scope="module")
def profile() -> FirmwareProfile:
    need(*TOOLS)
    policy, quantized = sample("tanh_mlp", 3)
    return profile_unicorn(
        workload_for(
            quantized, observations(policy, np.random.default_rng(0), 8), board("nucleo_l4r5zi")
        ),
        board("nucleo_l4r5zi"),
        default_cache_dir(),
    )


def test_a_profile_says_what_each_layer_costs(profile: FirmwareProfile) -> None:
    assert [layer.layer for layer in profile.layers] == [
        "dense0",
        "tanh0",
        "dense1",
        "tanh1",
        "dense2",
    ]
    assert sum(layer.instructions for layer in profile.layers) == profile.instructions
    assert profile.cycles is not None
    assert sum(layer.cycles.mid for layer in profile.layers if layer.cycles) == profile.cycles.mid
    assert profile.act_instructions is not None
    assert profile.act_instructions > profile.instructions
    assert (profile.compared, profile.differing) == (8, 0)
    assert profile.flash_bytes > profile.table_bytes > 0
    assert profile.ram_bytes > profile.arena_bytes > 0


def test_a_profile_survives_its_json(profile: FirmwareProfile) -> None:
    assert firmware_profile_from(profile.to_json(), "firmware.json") == profile
    document = json.loads(profile.to_json()) | {"format": 9}
    for text in (b"{}", b"nonsense", json.dumps(document).encode()):
        with pytest.raises(
            InputError, match=r"firmware\.json.*run quarl profile BUNDLE --board NAME again"
        ):
            firmware_profile_from(text, "firmware.json")


def test_no_figure_of_an_emulator_claims_to_be_measured(profile: FirmwareProfile) -> None:
    kinds = {figure.name: figure.kind for figure in profile.figures}
    assert kinds["firmware_flash_bytes"] == "exact"
    assert kinds["firmware_instructions"] == "emulated"
    assert kinds["firmware_latency_us"] == "estimated"
    assert "measured" not in kinds.values()
    assert profile.latency_us is not None
    low, mid, high = profile.latency_us
    assert low <= mid <= high


@pytest.mark.parametrize("name", sorted(read_boards(targets_dir())))
def test_every_board_builds_boots_and_answers(name: str) -> None:
    policy, quantized = sample("branches", 3)
    obs = observations(policy, np.random.default_rng(0), 3)
    target = board(name)
    need(*TOOLS)
    if not target.core.emulation.unicorn:
        need("qemu-system-arm", "gcc")
    found = profile_emulated(workload_for(quantized, obs, target), target, default_cache_dir())
    assert (found.compared, found.differing) == (3, 0)


SMALL = ("cartpole_ppo", "nav_dqn_small", "nav_ppo", "pendulum_sac")


@pytest.mark.every(2)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in SMALL else pytest.mark.slow) for name in SHIPPED],
)
def test_a_shipped_policy_acts_on_the_core_as_on_the_host(name: str) -> None:
    need(*TOOLS)
    quantized, heldout = shipped(name)
    integers = quantize_observations(quantized, heldout)
    for target in BOARDS_OF.get(name, ("nucleo_l4r5zi", "rp2040_pico")):
        device = open_emulated(
            write_source_tree(quantized, board(target), heldout), board(target), default_cache_dir()
        )
        np.testing.assert_array_equal(device.run(integers), integer_outputs(quantized, heldout))
        actions = (
            device.decisions(integers)
            if quantized.contract.observation.is_image
            else device.act(heldout)
        )
        np.testing.assert_array_equal(actions, act(quantized, heldout))


def shipped(name: str) -> tuple[QuantPolicy, np.ndarray]:  # type: ignore[type-arg]
    source = open_source(name, ImportOptions(), None)
    calibration, heldout = observations_of(source, None)
    count = 10 if source.policy.contract.observation.is_image or name in BOARDS_OF else 1000
    return quantize_on_rung(source.policy, calibration, DEFAULT_RUNG), heldout.obs[:count]


def test_a_policy_that_does_not_fit_is_refused_with_numbers_and_alternatives() -> None:
    program = lower(sample("nature", 0)[1], "dsp")
    with pytest.raises(BudgetError) as error:
        check_fit(program, board("nrf52840_dk"), read_boards(targets_dir()).values())
    words = str(error.value)
    assert f"{flash_needed(program):,} B of flash, the board has 1,048,576 B" in words
    assert "dense0 (1,6" in words
    assert "it would fit" in words
    assert "nucleo_h7a3zi, nucleo_l4r5zi" in words


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_the_last_byte_decides(spare: int, fits: bool) -> None:
    program = lower(sample("argmax_mlp", 0)[1], "dsp")
    l4 = board("nucleo_l4r5zi")
    for part, needed in (("flash", flash_needed(program)), ("ram", ram_needed(program))):
        small = replace(l4, **{part: replace(getattr(l4, part), bytes=needed + spare)})  # type: ignore[arg-type]
        if fits:
            check_fit(program, small)
        else:
            with pytest.raises(BudgetError, match="use a narrower policy"):
                check_fit(program, small)


def test_the_sources_for_a_board_are_the_same_every_time() -> None:
    policy, quantized = sample("argmax_mlp", 3)
    obs = observations(policy, np.random.default_rng(0), 9)
    files = write_source_tree(quantized, board("nucleo_l4r5zi"), obs).files
    assert files == write_source_tree(quantized, board("nucleo_l4r5zi"), obs).files
    assert {path.partition("/")[0] for path in files} == {
        "policy",
        "harness",
        "uart",
        "freestanding",
        "interface.json",
    }
    assert {path.partition("/")[0] for path in write_source_tree(quantized, None, obs).files} == {
        "policy",
        "interface.json",
    }
    assert "policy/ql_mac_dsp.c" in files
    assert "policy/ql_mac_s8.c" in write_source_tree(quantized, None, obs).files


def commands_of_the_docs() -> list[list[str]]:
    """Return the command lines of the page's shell block, continued lines joined."""
    text = (Path(__file__).parents[2] / "toolchain" / "docs" / "firmware.md").read_text()
    block = text.split("```sh\n")[1].split("```")[0].replace("\\\n", " ")
    return [line.split() for line in block.splitlines() if line]


@pytest.mark.parametrize("index", [0, 1], ids=["gcc", "zig"])
def test_the_written_folder_builds_with_the_documented_command(index: int, tmp_path: Path) -> None:
    policy, quantized = sample("squashed", 3)
    target = board("nucleo_l4r5zi")
    obs = observations(policy, np.random.default_rng(0), 9)
    for name, content in write_source_tree(quantized, target, obs).files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    command = commands_of_the_docs()[index]
    need(*TOOLS, *(["arm-none-eabi-gcc"] if index == 0 else []))
    command = [sys.executable if word == "python" else word for word in command]
    done = run(["sh", "-c", f"cd {tmp_path} && exec {' '.join(command)}"], timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    program = with_example(lower(quantized, "dsp"), obs)
    device = UnicornDevice(
        read_image((tmp_path / "firmware.elf").read_bytes(), target), target, interface_of(program)
    )
    np.testing.assert_array_equal(device.act(obs), act(quantized, obs))


def test_the_written_folder_builds_for_a_serial_line_as_the_docs_say(tmp_path: Path) -> None:
    policy, quantized = sample("squashed", 3)
    target = board("nucleo_l4r5zi")
    for name, content in write_source_tree(
        quantized, target, observations(policy, np.random.default_rng(0), 9)
    ).files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    need("arm-none-eabi-gcc")
    (tmp_path / "harness" / "ql_port_semihosting.c").unlink()
    words = " ".join(commands_of_the_docs()[0]).replace(
        "harness/*.c", "harness/*.c uart/*.c -Iuart"
    )
    done = run(
        ["sh", "-c", f"cd {tmp_path} && exec {words} -Wall -Wextra -Wconversion -Werror"],
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(("name", "examples"), [("argmax_mlp", 8), ("stacked_frames", 1)])
def test_a_firmware_whose_example_comes_out_differently_serves_nothing(
    name: str, examples: int
) -> None:
    need(*TOOLS)
    policy, quantized = sample(name, 0)
    target = board("nucleo_l4r5zi")
    obs = observations(policy, np.random.default_rng(0), 20)
    program = with_example(lower(quantized, "dsp"), obs)
    assert program.example is not None
    assert len(program.example.inputs) == examples
    outputs = program.example.outputs.copy()
    outputs[-1, -1] ^= 1
    wrong = replace(program, example=replace(program.example, outputs=outputs))
    for made, is_fit in ((program, True), (wrong, False)):
        files = program_sources(made) | harness_sources(target)
        image = read_image(build_image(files, target, default_cache_dir()), target)
        if is_fit:
            UnicornDevice(image, target, interface_of(made))
        else:
            with pytest.raises(DeviceError, match="its own example came out differently"):
                UnicornDevice(image, target, interface_of(made))


@pytest.mark.parametrize(
    ("target", "instructions", "cycles"),
    [
        (
            "nrf52840_dk",
            ("ldr r0, [r1]", "ldr r2, [r3]", "adds r0, r0, r2", "bx lr"),
            2 + 1 + 1 + 1,
        ),
        (
            "nrf52840_dk",
            ("ldm.w r0!, {r5, r6, r7, r8}", "smlad r3, lr, sb, r3", "strd r4, r6, [r1]"),
            5 + 1 + 3,
        ),
        (
            "nrf52840_dk",
            ("vldr s0, [r4]", "vmul.f32 s0, s0, s2", "vdiv.f32 s0, s0, s1"),
            2 + 1 + 14,
        ),
        (
            "rp2040_pico",
            ("ldr r0, [r1]", "ldrsb r7, [r2, r3]", "muls r0, r7, r0", "push {r4, lr}"),
            2 + 2 + 1 + 3,
        ),
    ],
)
def test_a_blocks_cycles_follow_the_cores_table(
    target: str, instructions: tuple[str, ...], cycles: int
) -> None:
    straight = Count(((Block(0, 8, instructions), 10, 0),))
    found = estimate_cycles(straight, replace(board(target), flash_cache=None))
    assert found is not None
    assert (found.low, found.mid, found.high) == (10 * cycles,) * 3


def test_taken_branches_and_wait_states_widen_the_estimate() -> None:
    count = Count(((Block(0, 2, ("bne #0",)), 10, 9),))
    found = estimate_cycles(count, board("nucleo_l4r5zi"))
    assert found is not None
    assert (found.low, found.mid, found.high) == (10 + 9, 10 + 18, 10 + 27 + 9 * 5)
    assert "5 flash wait states" in cycle_assumptions(board("nucleo_l4r5zi"))


def test_both_emulators_give_one_profile_but_for_what_only_one_can_see(
    profile: FirmwareProfile,
) -> None:
    need("qemu-system-arm", "gcc")
    policy, quantized = sample("tanh_mlp", 3)
    other = profile_qemu(
        workload_for(
            quantized, observations(policy, np.random.default_rng(0), 8), board("nucleo_l4r5zi")
        ),
        board("nucleo_l4r5zi"),
        default_cache_dir(),
    )
    assert replace(other, link="unicorn", stack_bytes=profile.stack_bytes) == profile


def test_a_core_without_a_timing_table_has_a_wide_range() -> None:
    need("qemu-system-arm", "gcc", *TOOLS)
    policy, quantized = sample("tanh_mlp", 3)
    found = profile_qemu(
        workload_for(
            quantized, observations(policy, np.random.default_rng(0), 8), board("mps3_an547")
        ),
        board("mps3_an547"),
        default_cache_dir(),
    )
    assert found.differing == 0
    assert found.instructions > 0
    assert found.cycles is not None
    assert found.instructions <= found.cycles.low < found.cycles.mid < found.cycles.high
    assert {figure.name: figure.kind for figure in found.figures}[
        "firmware_latency_us"
    ] == "estimated"
    assert firmware_profile_from(found.to_json(), "firmware.json") == found
