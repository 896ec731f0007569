"""Real firmware in the emulator: same answers as the reference, exact counts, honest failures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quarl.boards.core import Fpu
from quarl.boards.microcontroller import Board, find_board
from quarl.errors import DeviceError, InputError
from quarl.firmware import build
from quarl.firmware.build import build_image
from quarl.firmware.elf import read_image
from quarl.firmware.image import harness_sources
from quarl.firmware.interface import interface_of
from quarl.firmware.lower import lower
from quarl.firmware.program import Program
from quarl.firmware.sources import program_sources
from quarl.graph.reference import act, integer_outputs, quantize_observations
from quarl.links.count import merged
from quarl.links.frames import Frame, pack_frame
from quarl.links.unicorn import UnicornDevice
from quarl.resources import default_cache_dir, targets_dir
from tests.conftest import need
from tests.support.cores import IN_UNICORN, board_with
from tests.support.samples import observations, sample


def boot(
    program: Program, board: Board, extra: dict[str, bytes] | None = None, timeout_s: float = 60
) -> UnicornDevice:
    need("ziglang", "unicorn", "elftools", "capstone")
    files = program_sources(program) | harness_sources(board) | (extra or {})
    return UnicornDevice(
        read_image(build_image(files, board, default_cache_dir()), board),
        board,
        interface_of(program),
        timeout_s,
    )


@pytest.mark.every(2)
@pytest.mark.parametrize(("name", "rung"), [("branches", 3), ("squashed", 5), ("small_images", 0)])
@pytest.mark.parametrize(("cpu", "fpu"), IN_UNICORN)
def test_a_core_answers_like_the_reference_bit_for_bit(
    cpu: str, fpu: Fpu, name: str, rung: int
) -> None:
    policy, quantized = sample(name, rung)
    board = board_with(cpu, fpu)
    device = boot(lower(quantized, board.variant.kernels), board)
    obs = observations(policy, np.random.default_rng(5), 20)
    integers = quantize_observations(quantized, obs)
    np.testing.assert_array_equal(device.run(integers), integer_outputs(quantized, obs))
    np.testing.assert_array_equal(device.decisions(integers), act(quantized, obs))
    if not policy.contract.observation.is_image:
        obs[:7, 0] = [np.nan, np.inf, -np.inf, 1e-40, -0.0, 3e38, -3e38]
        np.testing.assert_array_equal(device.act(obs), act(quantized, obs))


@pytest.mark.parametrize(("cpu", "fpu"), [("cortex-m4", "single"), ("cortex-m0", "none")])
def test_counts_are_the_same_every_time_and_sum_to_the_whole(cpu: str, fpu: Fpu) -> None:
    policy, quantized = sample("argmax_mlp", 3)
    board = board_with(cpu, fpu)
    program = lower(quantized, board.variant.kernels)
    device = boot(program, board)
    obs = observations(policy, np.random.default_rng(5), 1)
    integers = quantize_observations(quantized, obs)
    first, second = device.count_calls(integers), device.count_calls(integers)
    assert first == second
    assert len(first) == len(program.calls)
    assert merged(first).instructions == sum(count.instructions for count in first)
    assert device.count_act(obs[0]).instructions > merged(first).instructions
    assert 0 < device.stack_bytes() < 1024


def test_without_an_fpu_a_core_with_smlad_still_answers_the_same() -> None:
    policy, quantized = sample("argmax_mlp", 0)
    device = boot(lower(quantized, "dsp"), board_with("cortex-m4", "none"))
    obs = observations(policy, np.random.default_rng(5), 20)
    np.testing.assert_array_equal(
        device.run(quantize_observations(quantized, obs)), integer_outputs(quantized, obs)
    )


def test_a_damaged_request_is_refused_and_the_next_one_answered() -> None:
    policy, quantized = sample("argmax_mlp", 0)
    program = lower(quantized, "dsp")
    device = boot(program, board_with("cortex-m4", "single"))
    request = bytearray(pack_frame(Frame("R", bytes(program.input_len))))
    request[9] ^= 1
    for garbage, words in [
        (bytes(request), "bad CRC"),
        (pack_frame(Frame("Z", b"")), "does not know"),
        (pack_frame(Frame("R", b"1")), "length"),
    ]:
        with pytest.raises(DeviceError, match=words):
            device.exchange(garbage, "R")
        obs = observations(policy, np.random.default_rng(5), 1)
        np.testing.assert_array_equal(
            device.run(quantize_observations(quantized, obs)), integer_outputs(quantized, obs)
        )


def test_sources_that_do_not_compile_are_reported_in_the_compilers_words() -> None:
    program = lower(sample("argmax_mlp", 0)[1], "dsp")
    with pytest.raises(DeviceError, match="unknown type name"):
        boot(program, board_with("cortex-m4", "single"), {"main.c": b"nonsense main;\n"})


def test_unicorn_says_which_core_it_has_not() -> None:
    program = lower(sample("argmax_mlp", 0)[1], "dsp")
    image = read_image(_any_elf(), board_with("cortex-m4", "single"))
    with pytest.raises(InputError, match="qemu-system"):
        UnicornDevice(image, find_board("mps3_an547", targets_dir()), interface_of(program))


def _any_elf() -> bytes:
    need("ziglang", "elftools")
    board = board_with("cortex-m4", "single")
    return build_image(
        program_sources(lower(sample("argmax_mlp", 0)[1], "dsp")) | harness_sources(board),
        board,
        default_cache_dir(),
    )


def test_an_unchanged_build_comes_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = board_with("cortex-m4", "single")
    files = program_sources(lower(sample("argmax_mlp", 0)[1], "dsp")) | harness_sources(board)
    need("ziglang")
    first = build_image(files, board, tmp_path)
    monkeypatch.delattr(build, "_compile")
    assert build_image(files, board, tmp_path) == first
    assert len(list(tmp_path.rglob("firmware.elf"))) == 1
