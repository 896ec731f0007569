"""The cycle model beside published silicon: the code that was measured there is built, counted and
estimated here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quarl.boards.core import Published
from quarl.boards.cores import CORES
from quarl.boards.microcontroller import find_board, read_boards
from quarl.links.count import Block, Count
from quarl.profiles.cycles import UNKNOWN_WAIT_STATES, cycle_assumptions, estimate_cycles
from quarl.quantize.calibration import Calibration
from quarl.quantize.ladder import rung_numbered
from quarl.quantize.quantizer import quantize
from quarl.resources import targets_dir
from tests.conftest import need
from tests.support.cores import board_with
from tests.support.samples import observations, peer

PUBLISHED = CORES["cortex-m4"].cycles.published
SLACK = 3  # points: another compiler version moves a few instructions


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.what)
def test_the_stated_error_is_the_one_found(published: Published) -> None:
    need("bakenn", "ziglang", "unicorn", "elftools", "capstone", "arm-none-eabi-gcc")
    from tests.bench.peer_bakenn import measure

    rng = np.random.default_rng(0)
    policy = peer((32, 16, 4))(rng)
    calibration = Calibration(observations(policy, rng, 256), np.zeros(0, np.int32))
    quantized = quantize(policy, calibration, rung_numbered(0).settings, 0)
    board = find_board("nrf52840_dk", targets_dir())
    cost = measure(
        quantized, observations(policy, rng, 3), board, with_cmsis_nn="CMSIS" in published.what
    )
    assert cost.cycles is not None
    assert 100 * (cost.cycles / published.cycles - 1) == pytest.approx(
        published.error_percent, abs=SLACK
    )


def test_the_profile_states_the_error_where_silicon_was_measured_and_says_so_elsewhere() -> None:
    texts = {
        name: cycle_assumptions(find_board(name, targets_dir()))
        for name in ("nrf52840_dk", "nucleo_l4r5zi", "nucleo_u575zi", "rp2040_pico")
    }
    assert "a third more where weights stream from slow flash" in texts["nucleo_l4r5zi"]
    assert (
        "on 2 published measurements of other kernels on silicon the middle came out -14 to -6 %"
        in texts["nrf52840_dk"]
    )
    assert "not validated on silicon" in texts["nucleo_u575zi"]
    assert "not validated on silicon" in texts["rp2040_pico"]


def test_tables_in_slow_flash_make_the_high_end_longer() -> None:
    """Each line of 16 bytes is fetched once at least, and waits for the flash."""
    count = Count(((Block(0, 4, ("nop", "nop")), 10, 0),))
    board = find_board("nucleo_l4r5zi", targets_dir())
    without, with_tables = (estimate_cycles(count, board, None, size) for size in (0, 1_601))
    assert board.flash_wait_states == 5
    assert with_tables.high - without.high == 101 * 5
    assert (with_tables.low, with_tables.mid) == (without.low, without.mid)


def test_a_core_without_a_timing_table_gets_a_wide_range_and_says_so() -> None:
    block = Block(0, 8, ("ldr r0, [r1]", "adds r0, #1"))
    vectors = Block(8, 12, ("mve.load", "mve.op", "mve.op"))
    count = Count(((block, 10, 4), (vectors, 5, 0)))
    board = find_board("mps3_an547", targets_dir())
    cycles = estimate_cycles(count, board)
    # the arithmetic of a block takes 4 cycles of its unit, and the load goes on beside it
    assert board.flash_wait_states == "unknown"
    assert cycles.low == 10 * 2 + 5 * 4
    assert cycles.high == 10 * (2 + 1) + 5 * 3 * 2 + 4 * (3 + UNKNOWN_WAIT_STATES)
    assert cycles.mid == (cycles.low + cycles.high) // 2
    assert "an instruction every cycle" in cycle_assumptions(board)
    assert "not validated on silicon" in cycle_assumptions(board)


@pytest.mark.parametrize(
    ("cpu", "instructions", "cycles"),
    [
        ("cortex-m4", ("ldr r0, [r1]", "ldr r2, [r3]", "ldrd r4, r5, [r1]", "ldrb.w r0, [r1]"), 8),
        ("cortex-m4", ("str r0, [r1]", "ldrsb r2, [r3]", "push {r4, r5, lr}", "smlad r0, r1"), 7),
        ("cortex-m4", ("vldr s0, [r1]", "vdiv.f32 s0, s1", "vldmia r0!, {s0, s1}", "udiv r0"), 26),
        ("cortex-m3", ("mla r0, r1, r2, r3", "smlal r0, r1, r2, r3", "mul r0, r1"), 7),
        ("cortex-m0", ("ldr r0, [r1]", "ldr r2, [r3]", "stm r0!, {r1, r2}", "muls r0, r1"), 8),
        ("cortex-m23", ("ldr r0, [r1]", "udiv r0, r1, r2"), 36),
    ],
)
def test_instructions_take_what_the_cores_table_says(
    cpu: str, instructions: tuple[str, ...], cycles: int
) -> None:
    board = board_with(cpu, "none")
    count = Count(((Block(0, 4, instructions), 10, 0),))
    assert estimate_cycles(count, board).mid == 10 * cycles


def test_a_core_that_another_one_stands_in_for_says_so() -> None:
    assert "an emulated cortex-m33" in cycle_assumptions(board_with("cortex-m23", "none"))
    assert "an emulated" not in cycle_assumptions(board_with("cortex-m33", "single"))


def test_unknown_wait_states_widen_the_range_and_are_said_to_be_unknown() -> None:
    stated = [
        board.flash_wait_states
        for board in read_boards(targets_dir()).values()
        if board.flash_wait_states != "unknown"
    ]
    assert max(stated) < UNKNOWN_WAIT_STATES
    known = board_with("cortex-m4", "single")
    unknown = replace(known, flash_wait_states="unknown")
    count = Count(((Block(0, 4, ("nop",)), 10, 4),))
    assert estimate_cycles(count, unknown).high > estimate_cycles(count, known).high
    assert estimate_cycles(count, unknown).mid == estimate_cycles(count, known).mid
    assert "wait states are unknown" in cycle_assumptions(unknown)


def test_code_behind_a_flash_cache_gets_an_honest_range() -> None:
    code = Block(0, 16, ("ldrsb r0, [r1]", "ldr r2, [r3]", "ldm r0!, {r1, r2}", "str r0, [r1]"))
    count = Count(((code, 100, 0),))
    cached = find_board("rp2040_pico", targets_dir())
    plain = replace(cached, flash_cache=None)
    assert cached.flash_cache is not None
    line, fill = cached.flash_cache.line, cached.flash_cache.fill_cycles
    fills = 16 // line + 100 * (1 + 4 + 8) // line + 1  # rounded up
    wide, narrow = estimate_cycles(count, cached), estimate_cycles(count, plain)
    assert (wide.low, wide.high) == (narrow.low, narrow.high + fills * fill)
    assert wide.low < wide.mid < wide.high
    small = estimate_cycles(count, cached, flash_bytes=160)
    assert small.high == narrow.high + 160 // line * fill
    large = estimate_cycles(count, cached, flash_bytes=cached.flash_cache.bytes + 1)
    assert large == wide
    assert "behind a cache of 16,384 B" in cycle_assumptions(cached)


def test_no_estimate_of_a_shipped_board_is_a_point() -> None:
    count = Count(((Block(0, 8, ("ldr r0, [r1]", "adds r0, #1")), 100, 10),))
    riscv = Count(((Block(0, 8, ("lw a0, 0(a1)", "addi a0, a0, 1")), 100, 10),))
    for board in read_boards(targets_dir()).values():
        cycles = estimate_cycles(count if board.cpu.startswith("cortex") else riscv, board)
        assert cycles.low < cycles.high, board.name
        in_external_flash = board.flash_wait_states == 0  # a hit in its cache costs nothing
        assert in_external_flash == (board.flash_cache is not None), board.name
