"""A policy as a Linux program: its streams, its refusals, and its answers on the cores of the Pis,
equal to the host's bit for bit.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarl.boards.core import Kernels
from quarl.errors import DeviceError, InputError
from quarl.firmware.linux import (
    build_linux_files,
    linux_program,
    program_actions,
    program_inputs,
    program_observations,
    program_outputs,
)
from quarl.firmware.lower import lower
from quarl.firmware.program import Example
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import act, integer_outputs
from quarl.links.frames import Frame, pack_frame, payload_of, take_frame
from quarl.resources import default_cache_dir
from quarl.runtimes.host import NumpyRuntime
from tests.conftest import need
from tests.firmware.test_random_graphs import random_graph
from tests.support.cores import PI_CORES
from tests.support.linux_programs import (
    ask,
    build_linux_program,
    build_linux_sources,
    build_natively,
)
from tests.support.random_policies import random_integers
from tests.support.samples import SAMPLES, observations, sample
from tests.support.shipped import LARGE, pairs, shipped

POLICY, QUANTIZED = sample("branches", 3)
OBS = observations(POLICY, np.random.default_rng(5), 20)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_natively(
        linux_program(QUANTIZED, OBS, "cortex-a72"), tmp_path_factory.mktemp("native")
    )


def test_integers_go_in_and_outputs_come_out(native: Path, tmp_path: Path) -> None:
    (tmp_path / "inputs").write_bytes(program_inputs(QUANTIZED, OBS))
    for done in (
        ask(native, ["--run"], program_inputs(QUANTIZED, OBS)),
        ask(native, ["--run", str(tmp_path / "inputs")]),
    ):
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(
            program_outputs(QUANTIZED, done.stdout), integer_outputs(QUANTIZED, OBS)
        )


def test_observations_go_in_and_actions_come_out(native: Path) -> None:
    obs = OBS.copy()
    obs[:7, 0] = [np.nan, np.inf, -np.inf, 1e-40, -0.0, 3e38, -3e38]
    done = ask(native, ["--act"], program_observations(QUANTIZED, obs))
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(program_actions(QUANTIZED, done.stdout), act(QUANTIZED, obs))


def test_it_serves_the_frames_of_the_harness(native: Path) -> None:
    size = QUANTIZED.contract.observation.shape[0]
    requests = [
        Frame("I", b"", 1),
        Frame("R", program_inputs(QUANTIZED, OBS[:1]), 2),
        Frame("A", OBS[0].tobytes(), 3),
        Frame("X", b"", 4),
    ]
    done = ask(native, ["--serve"], b"".join(map(pack_frame, requests)))
    assert done.returncode == 0, done.stderr
    identity, rest = take_frame(done.stdout)
    ran, rest = take_frame(rest)
    acted, rest = take_frame(rest)
    assert identity is not None
    assert ran is not None
    assert acted is not None
    assert rest == b""
    assert payload_of(identity, "I")[:16] == np.array([4 * size, size, 4, 4], "<u4").tobytes()
    assert payload_of(ran, "R")[4:8] == integer_outputs(QUANTIZED, OBS[:1]).tobytes()
    assert payload_of(acted, "A")[4:] == act(QUANTIZED, OBS[:1]).tobytes()


def test_it_says_what_it_is(native: Path) -> None:
    identity = json.loads(ask(native, ["--identify"]).stdout)
    assert identity["contract_sha256"] == QUANTIZED.contract.digest
    assert (
        identity["observation_bytes"],
        identity["input_bytes"],
        identity["output_bytes"],
        identity["action_bytes"],
    ) == (48, 12, 4, 4)
    assert (identity["input_type"], identity["output_type"], identity["examples"]) == (
        "int8",
        "float32",
        8,
    )


@pytest.mark.parametrize("extra", [(), ("--act",), ("--block", "3")])
def test_its_bench_gives_raw_samples_called_measured(
    native: Path, extra: tuple[str, ...], tmp_path: Path
) -> None:
    is_act = "--act" in extra
    (tmp_path / "inputs").write_bytes(
        program_observations(QUANTIZED, OBS) if is_act else program_inputs(QUANTIZED, OBS)
    )
    arguments = [
        "--bench",
        "--seconds",
        "5",
        "--warm-up",
        "0",
        "--samples",
        "7",
        "--inputs",
        str(tmp_path / "inputs"),
        *extra,
    ]
    done = ask(native, arguments)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["kind"] == "measured"
    assert figures["what"] == ("act" if is_act else "infer")
    assert len(figures["samples_us"]) == 7
    assert all(sample > 0 for sample in figures["samples_us"])
    assert figures["calls_per_sample"] == 3 or "--block" not in extra
    assert (
        min(figures["peak_bytes"], figures["rss_bytes"], figures["rss_before_bytes"]) > 0
    )  # the kernel counts them apart, and late
    assert (
        json.loads(ask(native, ["--bench", "--seconds", "0", "--warm-up", "0"]).stdout)[
            "samples_us"
        ]
        == []
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], b"what to do is missing"),
        (["--fly"], b"--fly"),
        (["--run", "/nonexistent"], b"cannot be read"),
        (["--bench", "--seconds", "soon"], b"--seconds"),
        (["--bench", "--samples", "0"], b"--samples"),
        (["--bench", "--inputs", "/nonexistent"], b"cannot be read"),
        (["--bench", "--cpu"], b"--cpu"),
        (["--identify", "twice"], b"--identify"),
    ],
)
def test_wrong_usage_is_said_and_ends_with_2(
    native: Path, arguments: list[str], words: bytes
) -> None:
    done = ask(native, arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == b""


def test_input_that_ends_within_a_record_is_an_error_after_the_whole_records(native: Path) -> None:
    stream = program_inputs(QUANTIZED, OBS)
    done = ask(native, ["--run"], stream[:-5])
    assert done.returncode == 2
    assert b"7 of 12 bytes" in done.stderr
    np.testing.assert_array_equal(
        program_outputs(QUANTIZED, done.stdout), integer_outputs(QUANTIZED, OBS[:-1])
    )


def test_a_program_whose_example_comes_out_differently_serves_nothing(tmp_path: Path) -> None:
    program = linux_program(QUANTIZED, OBS, "cortex-a72")
    assert program.example is not None
    wrong = program.example.outputs.copy()
    wrong.view(np.uint8)[-1, -1] ^= 1
    path = build_natively(
        replace(program, example=Example(program.example.inputs, wrong)), tmp_path
    )
    for verb in ("--identify", "--run", "--act", "--serve", "--bench"):
        done = ask(path, [verb])
        assert done.returncode == 5
        assert done.stdout == b""
        assert b"must not be used" in done.stderr


def test_no_observations_are_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        build_linux_program(QUANTIZED, OBS[:0], "cortex-a72", default_cache_dir())


def test_the_compilers_words_reach_the_user(tmp_path: Path) -> None:
    need("ziglang")
    policy = {"policy.c": b"int policy_version = 1;\n"}
    port = {"main.c": b"int main(void) { return nothing; }\n"}
    with pytest.raises(DeviceError, match=r"cortex-a53: the compiler stopped.*nothing"):
        build_linux_files(policy, port, "cortex-a53", tmp_path)


def check_on_core(quantized: QuantPolicy, obs: np.ndarray, core: str) -> None:  # type: ignore[type-arg]
    need("ziglang", "qemu-aarch64")
    path = build_linux_program(quantized, obs, core, default_cache_dir())
    assert build_linux_program(quantized, obs, core, default_cache_dir()) == path
    ran = ask(path, ["--run"], program_inputs(quantized, obs), core)
    acted = ask(path, ["--act"], program_observations(quantized, obs), core)
    assert (ran.returncode, acted.returncode) == (0, 0), ran.stderr + acted.stderr
    np.testing.assert_array_equal(
        program_outputs(quantized, ran.stdout), integer_outputs(quantized, obs)
    )
    np.testing.assert_array_equal(program_actions(quantized, acted.stdout), act(quantized, obs))


@pytest.mark.parametrize(("name", "rung"), [("branches", 3), ("small_images", 5)])
@pytest.mark.parametrize("core", PI_CORES)
def test_every_core_answers_like_the_reference_bit_for_bit(core: str, name: str, rung: int) -> None:
    policy, quantized = sample(name, rung)
    check_on_core(quantized, observations(policy, np.random.default_rng(5), 50), core)


@pytest.mark.slow
@pytest.mark.parametrize("rung", [0, 3, 5])
@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("core", PI_CORES)
def test_every_core_answers_like_the_reference_for_every_sample(
    core: str, name: str, rung: int
) -> None:
    policy, quantized = sample(name, rung)
    check_on_core(quantized, observations(policy, np.random.default_rng(5), 200), core)


def check_shipped(core: str, name: str) -> None:
    need("ziglang", "qemu-aarch64")
    policy = shipped(name)
    path = build_linux_program(policy.policy, policy.heldout, core, default_cache_dir())
    ran = ask(path, ["--run"], program_inputs(policy.policy, policy.heldout), core)
    acted = ask(path, ["--act"], program_observations(policy.policy, policy.heldout), core)
    assert ran.stdout == policy.outputs.tobytes()
    np.testing.assert_array_equal(program_actions(policy.policy, acted.stdout), policy.actions)


@pytest.mark.every(3)
@pytest.mark.parametrize(("core", "name"), pairs(PI_CORES, is_quick=True))
def test_a_shipped_policy_answers_on_the_cores_as_on_the_host(core: str, name: str) -> None:
    """1,000 held-out observations, 100 of Atari; a large network on one of the cores, the rest of
    them below.
    """
    check_shipped(core, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("core", "name"),
    [(core, name) for core, name in pairs(PI_CORES, is_quick=False) if name in LARGE],
)
def test_a_large_shipped_policy_answers_on_every_core_as_on_the_host(core: str, name: str) -> None:
    check_shipped(core, name)


def check_random_graph(seed: int, core: str, kernels: Kernels) -> None:
    need("ziglang", "qemu-aarch64")
    rng = np.random.default_rng(seed)
    quantized = random_graph(rng)
    integers = random_integers(quantized, rng, 30)
    path = build_linux_sources(lower(quantized, kernels), core, default_cache_dir())
    dtype = np.int8 if quantized.observation.tensor.is_int8 else np.int16
    done = ask(path, ["--run"], integers.astype(dtype).tobytes(), core)
    assert done.returncode == 0, done.stderr
    assert done.stdout == NumpyRuntime(quantized).run(integers).tobytes()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("core", "kernels"), [("cortex-a72", "neon"), ("cortex-a76", "dot")])
def test_a_random_graph_gives_the_reference_outputs(core: str, kernels: Kernels, seed: int) -> None:
    check_random_graph(seed, core, kernels)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
@pytest.mark.parametrize(("core", "kernels"), [("cortex-a53", "neon"), ("cortex-a76", "dot")])
def test_many_random_graphs_give_the_reference_outputs(
    core: str, kernels: Kernels, seed: int
) -> None:
    check_random_graph(seed, core, kernels)
