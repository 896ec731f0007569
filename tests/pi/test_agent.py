"""The agent as a process of this machine: what it answers, what it refuses."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarl.errors import DeviceError, ToolMissingError
from quarl.graph.reference import integer_outputs
from quarl.links.local import LocalPi
from quarl.links.pi import agent_source, read_answer, sha256_of
from quarl.profiles.pi.measure import outputs_in
from quarl.profiles.pi.request import NOTHING, Effort, package_of, run_request
from tests.support.samples import observations, sample
from tests.support.workloads import workload_for


def done(code: int, stdout: bytes = b"", stderr: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.CompletedProcess([], code, stdout, stderr)


def test_the_agent_needs_nothing_but_the_standard_library_and_runs_on_old_pythons() -> None:
    tree = ast.parse(agent_source(), feature_version=(3, 9))
    imported = {
        alias.name.partition(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    imported |= {
        str(node.module).partition(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom)
    }
    assert imported <= set(sys.stdlib_module_names)


@pytest.mark.long
@pytest.mark.parametrize("name", ["argmax_mlp", "squashed", "small_images"])
def test_a_model_is_answered_timed_and_its_memory_is_told(name: str) -> None:
    policy, quantized = sample(name, 3)
    obs = observations(policy, np.random.default_rng(2), 20)
    package = package_of(workload_for(quantized, obs, None, policy), ("litert", "onnxruntime"))
    with LocalPi() as pi:
        pi.push(package.files)
        for asked in package.asked:
            fields = pi.ask(
                run_request(package, asked, Effort(warm_up_s=0.01, seconds=0.05, samples=20))
            ).fields
            assert fields["first_call_us"] > 0
            assert 1 <= len(fields["samples_us"]) <= 20
            assert fields["memory"]["before_load"]["resident_bytes"] <= fields["memory"]["peak"]
            if asked.precision == "int8":
                assert fields["differing_inputs"] == 0
                assert 1 <= len(fields["decisions_us"]) <= 20
                np.testing.assert_array_equal(outputs_in(fields), integer_outputs(quantized, obs))
            else:
                assert fields["decisions_us"] == []


@pytest.mark.long
def test_a_file_that_is_not_what_was_sent_is_not_used() -> None:
    policy, quantized = sample("argmax_mlp", 3)
    package = package_of(
        workload_for(quantized, observations(policy, np.random.default_rng(2), 3), None, None),
        ("litert",),
    )
    (asked,) = package.asked
    with LocalPi() as pi:
        pi.push({**package.files, asked.file: package.files[asked.file] + b"x"})
        with pytest.raises(DeviceError, match=r"int8\.tflite arrived damaged"):
            pi.ask(run_request(package, asked, NOTHING))
        pi.push({**package.files, asked.file: b"no model"})
        with pytest.raises(DeviceError, match="cannot load the model"):
            pi.ask(run_request(package, replace(asked, sha256=sha256_of(b"no model")), NOTHING))


@pytest.mark.long
def test_a_runtime_that_is_not_there_is_a_missing_tool() -> None:
    policy, quantized = sample("argmax_mlp", 3)
    package = package_of(
        workload_for(quantized, observations(policy, np.random.default_rng(2), 3), None, None),
        ("litert",),
    )
    with LocalPi() as pi:
        pi.push(package.files)
        with pytest.raises(
            ToolMissingError, match=r"tflite-runtime cannot be imported.*quarl provision"
        ):
            pi.ask(
                run_request(package, replace(package.asked[0], runtime="tflite_runtime"), NOTHING)
            )


def test_what_is_no_answer_is_told() -> None:
    with pytest.raises(ToolMissingError, match="has no python3"):
        read_answer(done(127, stderr=b"sh: python3: not found"), "a pi")
    with pytest.raises(DeviceError, match="killed"):
        read_answer(done(137), "a pi")
    with pytest.raises(DeviceError, match="ended with code 1 and no answer: SyntaxError"):
        read_answer(done(1, stderr=b"Traceback\nSyntaxError"), "a pi")
    with pytest.raises(DeviceError, match="no answer"):
        read_answer(done(0, stdout=b"Welcome to your Pi\n{}"), "a pi")
    with pytest.raises(DeviceError, match="speaks format 9"):
        read_answer(done(0, stdout=json.dumps({"format": 9}).encode()), "a pi")


def test_nothing_is_left_of_a_local_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with LocalPi() as pi:
        pi.push({"file": b"content"})
        assert pi.ask({"ask": "look"}).fields["bits"] == 64
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
