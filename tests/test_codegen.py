from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quarl.emitters.firmware import policy_sources
from quarl.firmware.lower import lower
from quarl.firmware.program import Kernels
from quarl.integer import act, integer_outputs, quantize_observations
from tests.conftest import need
from tests.firmware.host_build import HostPolicy, filter_outputs, kernel_objects
from tests.firmware.samples import SAMPLES, observations, sample

RUNGS = (0, 3, 5)


@pytest.fixture(scope="session")
def objects_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("gcc")
    return tmp_path_factory.mktemp("kernels")


@pytest.mark.parametrize("extra", [(), ("-DQL_RESCALE_INTEGER=1",)], ids=["magic", "integer"])
@pytest.mark.parametrize("kernels", ["portable", "dsp"])
@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("name", SAMPLES)
def test_generated_c_equals_the_reference_bit_for_bit(
    name: str, rung: int, kernels: Kernels, extra: tuple[str, ...], objects_dir: Path, tmp_path: Path
) -> None:
    policy, quantized = sample(name, rung)
    device = HostPolicy(lower(quantized, kernels), tmp_path / "policy", kernel_objects(objects_dir, "gcc", extra), extra=extra)
    obs = observations(policy, np.random.default_rng(9), 200)
    expected = integer_outputs(quantized, obs)
    made = device.infer(quantize_observations(quantized, obs))
    assert made.dtype == expected.dtype
    np.testing.assert_array_equal(made, expected)
    actions = act(quantized, obs)
    np.testing.assert_array_equal(device.act(obs), actions)


@pytest.mark.parametrize("name", ["argmax_mlp", "stacked_frames"])
def test_the_same_policy_gives_the_same_bytes(name: str) -> None:
    first, second = (policy_sources(sample(name, 3)[1], "portable") for _ in range(2))
    assert first == second
    assert list(first) == sorted(first)


@pytest.mark.parametrize(("compiler", "flags"), [("gcc", ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")), ("zig", ())])
@pytest.mark.parametrize("kernels", ["portable", "dsp"])
@pytest.mark.parametrize(("name", "rung"), [("branches", 3), ("small_images", 5), ("stacked_frames", 0)])
def test_sanitizers_and_another_compiler_find_the_same_answers(
    name: str, rung: int, kernels: Kernels, compiler: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    need("ziglang" if compiler == "zig" else compiler)
    policy, quantized = sample(name, rung)
    obs = observations(policy, np.random.default_rng(9), 50)
    program = lower(quantized, kernels)
    made = filter_outputs(program, tmp_path / "filter", flags, quantize_observations(quantized, obs), compiler)
    np.testing.assert_array_equal(made, integer_outputs(quantized, obs))
