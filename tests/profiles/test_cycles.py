"""The cycle model beside published silicon: the code that was measured there is built, counted and
estimated here.
"""

from __future__ import annotations

import numpy as np
import pytest

from quarl.boards.cortex_m import find_board
from quarl.links.count import Block, Count
from quarl.profiles.cycles import (
    PUBLISHED,
    VECTOR_CYCLES,
    Published,
    cycle_assumptions,
    estimate_cycles,
)
from quarl.quantize.calibration import Calibration
from quarl.quantize.ladder import rung_numbered
from quarl.quantize.quantizer import quantize
from quarl.resources import targets_dir
from tests.conftest import need
from tests.support.samples import observations, peer

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


def test_the_profile_states_the_error_where_there_was_something_to_compare_with_and_that_there_was_not_elsewhere() -> (
    None
):
    texts = {
        name: cycle_assumptions(find_board(name, targets_dir()))
        for name in ("nrf52840_dk", "nucleo_u575zi", "rp2040_pico")
    }
    assert (
        "on 2 published measurements of other kernels on silicon the middle came out -14 to -6 %"
        in texts["nrf52840_dk"]
    )
    assert "not validated on silicon" in texts["nucleo_u575zi"]
    assert "not validated on silicon" in texts["rp2040_pico"]


def test_a_core_without_a_timing_table_gets_a_wide_range_and_says_so() -> None:
    block = Block(0, 8, ("ldr r0, [r1]", "adds r0, #1"))
    vectors = Block(8, 8, ("", ""))  # what the decoder gives for vector instructions
    count = Count(((block, 10, 4), (vectors, 5, 0)))
    board = find_board("mps3_an547", targets_dir())
    cycles = estimate_cycles(count, board)
    assert cycles.low == count.instructions == 30
    assert cycles.high == 10 * (2 + 1) + 5 * 2 * VECTOR_CYCLES + 4 * (3 + board.flash_wait_states)
    assert cycles.mid == (cycles.low + cycles.high) // 2
    assert "an instruction every cycle" in cycle_assumptions(board)
    assert "not validated on silicon" in cycle_assumptions(board)
