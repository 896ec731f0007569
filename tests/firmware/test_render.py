from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarl.boards.core import Kernels
from quarl.firmware.lower import lower
from quarl.firmware.sources import policy_sources
from quarl.graph.quant_policy import QuantTensor
from quarl.graph.reference import act, integer_outputs, quantize_observations
from quarl.runtimes.host import NumpyRuntime
from tests.conftest import need
from tests.support.host_build import HostPolicy, filter_outputs, kernel_objects
from tests.support.random_policies import Builder, random_integers, wide_tensor
from tests.support.samples import SAMPLES, observations, sample

RUNGS = (0, 3, 5)


@pytest.fixture(scope="session")
def objects_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("gcc")
    return tmp_path_factory.mktemp("kernels")


@pytest.mark.parametrize(
    ("kernels", "extra"),
    [("portable", ("-DQL_RESCALE_INTEGER=1",)), ("dsp", ()), ("mve", ())],
    ids=["portable-integer", "dsp", "mve"],
)
@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("name", SAMPLES)
def test_generated_c_equals_the_reference_bit_for_bit(
    name: str,
    rung: int,
    kernels: Kernels,
    extra: tuple[str, ...],
    objects_dir: Path,
    tmp_path: Path,
) -> None:
    policy, quantized = sample(name, rung)
    device = HostPolicy(
        lower(quantized, kernels),
        tmp_path / "policy",
        kernel_objects(objects_dir, "gcc", extra),
        extra=extra,
    )
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


@pytest.mark.every(2)
@pytest.mark.parametrize(
    ("compiler", "flags"),
    [("gcc", ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")), ("zig", ())],
)
@pytest.mark.parametrize("kernels", ["portable", "dsp", "mve"])
@pytest.mark.parametrize(
    ("name", "rung"), [("branches", 3), ("small_images", 5), ("stacked_frames", 0)]
)
def test_sanitizers_and_another_compiler_find_the_same_answers(
    name: str, rung: int, kernels: Kernels, compiler: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    need("ziglang" if compiler == "zig" else compiler)
    policy, quantized = sample(name, rung)
    obs = observations(policy, np.random.default_rng(9), 50)
    program = lower(quantized, kernels)
    made = filter_outputs(
        program, tmp_path / "filter", flags, quantize_observations(quantized, obs), compiler
    )
    np.testing.assert_array_equal(made, integer_outputs(quantized, obs))


def test_infinite_bounds_clip_nothing(objects_dir: Path, tmp_path: Path) -> None:
    policy, quantized = sample("tanh_mlp", 3)
    action = replace(quantized.contract.action, low=(-np.inf,) * 3, high=(np.inf, 0.1, np.inf))
    quantized = replace(quantized, contract=replace(quantized.contract, action=action))
    device = HostPolicy(
        lower(quantized, "portable"), tmp_path / "policy", kernel_objects(objects_dir, "gcc", ())
    )
    obs = observations(policy, np.random.default_rng(9), 50)
    np.testing.assert_array_equal(device.act(obs), act(quantized, obs))


def test_odd_observations_are_quantised_as_the_reference_does(
    objects_dir: Path, tmp_path: Path
) -> None:
    policy, quantized = sample("squashed", 1)
    device = HostPolicy(
        lower(quantized, "portable"), tmp_path / "policy", kernel_objects(objects_dir, "gcc", ())
    )
    obs = observations(policy, np.random.default_rng(9), 9)
    obs[:, 2] = [np.nan, np.inf, -np.inf, 1e-45, -1e-45, 3.4e38, -3.4e38, 0.0, -0.0]
    np.testing.assert_array_equal(device.act(obs), act(quantized, obs))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kernels", ["portable", "dsp", "mve"])
def test_random_integers_next_to_rounding_ties_give_the_reference_outputs(
    seed: int, kernels: Kernels, objects_dir: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(seed)
    builder = Builder(rng, (7, 6, 5), QuantTensor(np.float32(1 / 255), -128))
    builder.window("conv", 9, (3, 2), (1, 2), ((1, 0), (2, 1)), builder.output())
    builder.window(
        "depthwise", 0, (2, 3), (2, 1), ((0, 1), (1, 1)), builder.output(zero_point=-128)
    )
    builder.flatten()
    builder.dense(40, builder.output(qmin=-100, qmax=90))
    builder.dense(11, wide_tensor(12, 0.01, 5))
    builder.table("relu", wide_tensor(11, 0.02))
    builder.dense(6, None if seed % 2 else builder.output())
    quantized = builder.build()
    integers = random_integers(quantized, rng, 150)
    expected = NumpyRuntime(quantized).run(integers)
    has_cores_without_fpu = kernels != "mve"
    for extra in ((), ("-DQL_RESCALE_INTEGER=1",))[: 1 + has_cores_without_fpu]:
        objects = kernel_objects(objects_dir, "gcc", extra)
        device = HostPolicy(
            lower(quantized, kernels), tmp_path / f"policy{len(extra)}", objects, extra=extra
        )
        np.testing.assert_array_equal(device.infer(integers), expected)
