"""What a Linux program executes in one inference on the cores of the Pis. Emulated counts repeat
exactly.

LiteRT 2.3 in the same emulator (toolchain/docs/linux-program.md), A72 and A76: 20,726 and 19,690
for the small network, 43,502 and 29,900 for the middle one, 4.40 M and 1.24 M for the Nature CNN.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quarl.firmware.linux import program_inputs, program_outputs
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs
from quarl.links.plugin import plugin_library
from quarl.links.qemu_user import PLUGIN_SOURCE
from quarl.profiles.pi.report import Instructions, instructions_from
from quarl.resources import default_cache_dir
from quarl.tools import run
from tests.conftest import need
from tests.support.linux_programs import build_linux_program
from tests.support.samples import observations, sample


def counted(quantized: QuantPolicy, obs: np.ndarray, core: str, folder: Path) -> Instructions:  # type: ignore[type-arg]
    need("ziglang", "qemu-aarch64", "gcc")
    program, marks = (
        build_linux_program(quantized, obs, core, default_cache_dir()),
        folder / "marks",
    )
    plugin = f"{plugin_library(PLUGIN_SOURCE, default_cache_dir())},out={marks}"
    argv = ["qemu-aarch64", "-plugin", plugin, "-cpu", core, program, "--marked", "--run"]
    done = run(argv, input=program_inputs(quantized, obs), timeout=300)
    np.testing.assert_array_equal(
        program_outputs(quantized, done.stdout), integer_outputs(quantized, obs)
    )
    lines = [line.split() for line in marks.read_text().splitlines()]
    return instructions_from([(int(code), int(count)) for code, count in lines])


@pytest.mark.every(2)
@pytest.mark.parametrize(
    ("name", "core", "most"),
    [
        ("mlp_8_64_64_4", "cortex-a53", 2_000),
        ("mlp_8_64_64_4", "cortex-a76", 1_300),
        ("mlp_24_256_256_4", "cortex-a72", 17_500),
        ("mlp_24_256_256_4", "cortex-a76", 8_000),
        ("nature", "cortex-a72", 2_300_000),
        ("nature", "cortex-a76", 900_000),
    ],
)
def test_an_inference_stays_within_its_instructions(
    name: str, core: str, most: int, tmp_path: Path
) -> None:
    policy, quantized = sample(name, 0)
    instructions = counted(
        quantized, observations(policy, np.random.default_rng(5), 2), core, tmp_path
    ).per_inference
    assert len(instructions) == 2
    assert len(set(instructions)) == 1  # no data decides how much is executed
    assert instructions[0] <= most
