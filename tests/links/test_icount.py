"""Counting without the plugin: labelled, without layers or cycles, and within its stated bound of
the plugin's exact count.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quarl.boards.core import Fpu
from quarl.boards.microcontroller import find_board
from quarl.errors import DeviceError, ToolMissingError
from quarl.links import qemu
from quarl.links.icount import OVERHEAD, SHIFTS, instructions_by_icount
from quarl.links.machine import PluginError
from quarl.profiles.emulated import firmware_profile_from, profile_icount, profile_qemu
from quarl.resources import default_cache_dir, targets_dir
from tests.conftest import need
from tests.support.cores import FULL, board_with, qemu_of
from tests.support.samples import observations, sample
from tests.support.workloads import workload_for

ONE_OF_EACH = ("cortex-m0", "cortex-m4", "cortex-m55", "riscv32-imc")  # instruction sets


@pytest.mark.parametrize(
    ("cpu", "fpu"),
    [
        pytest.param(cpu, fpu, marks=() if cpu in ONE_OF_EACH else pytest.mark.slow)
        for cpu, fpu in FULL
    ],
)
def test_it_counts_as_the_plugin_does_within_the_stated_bound(cpu: str, fpu: Fpu) -> None:
    need("ziglang", "elftools", "capstone", *qemu_of(cpu))
    policy, quantized = sample("squashed", 3)
    board = board_with(cpu, fpu)
    obs = observations(policy, np.random.default_rng(5), 1)
    exact = profile_qemu(workload_for(quantized, obs, board), board, default_cache_dir())
    other = profile_icount(
        workload_for(quantized, obs, board), board, default_cache_dir(), "asked for"
    )
    assert other.act_instructions is not None
    assert exact.act_instructions is not None
    assert abs(other.instructions - exact.instructions) <= OVERHEAD + 2
    assert abs(other.act_instructions - exact.act_instructions) <= OVERHEAD + 2
    assert (other.link, other.layers, other.cycles, other.latency_us) == (
        "qemu-system -icount",
        (),
        None,
        None,
    )
    assert "asked for; QEMU's -icount counted the whole call, within" in other.cycle_assumptions
    assert firmware_profile_from(other.to_json(), "firmware.json") == other


@pytest.mark.parametrize(
    "error", [ToolMissingError("no C compiler"), DeviceError("does not compile")]
)
def test_without_the_plugin_it_is_used_by_itself_and_says_why(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("ziglang", "elftools", "capstone", "qemu-system-arm")

    def refuse(*_: object) -> Path:
        raise error

    monkeypatch.setattr(qemu, "plugin_library", refuse)
    policy, quantized = sample("squashed", 3)
    obs = observations(policy, np.random.default_rng(5), 1)
    found = profile_qemu(
        workload_for(quantized, obs, find_board("nucleo_l4r5zi", targets_dir())),
        find_board("nucleo_l4r5zi", targets_dir()),
        default_cache_dir(),
    )
    assert found.link == "qemu-system -icount"
    assert str(error) in found.cycle_assumptions
    assert (found.compared, found.differing) == (1, 0)


def test_a_plugin_qemu_cannot_load_is_told_from_a_firmware_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("ziglang", "elftools", "capstone", "qemu-system-arm")
    library = tmp_path / "plugin.so"
    library.write_bytes(b"not a library")
    monkeypatch.setattr(qemu, "plugin_library", lambda *_: library)
    policy, quantized = sample("squashed", 3)
    obs = observations(policy, np.random.default_rng(5), 1)
    found = profile_qemu(
        workload_for(quantized, obs, find_board("nucleo_l4r5zi", targets_dir())),
        find_board("nucleo_l4r5zi", targets_dir()),
        default_cache_dir(),
    )
    assert "QEMU cannot load the counting plugin" in found.cycle_assumptions
    assert issubclass(PluginError, DeviceError)


def test_a_call_that_wraps_the_counter_is_asked_again_with_coarser_ticks() -> None:
    asked = []

    def ask(options: object) -> int:
        asked.append(options)
        return 0 if len(asked) < len(SHIFTS) else 500_000

    instructions, error = instructions_by_icount(ask, 25_000_000)
    assert (len(asked), instructions, error) == (3, 500_000 * 40 - OVERHEAD, OVERHEAD + 40)
    with pytest.raises(DeviceError, match="counted nothing"):
        instructions_by_icount(lambda _: 0, 25_000_000)
