"""Every row of the table of sources: the file is read as its own framework computes it, and its
integers are the same on every backend; or it is refused with a reason.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.emitters import emit_onnx, emit_tflite
from quarl.errors import QuarlError
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import integer_outputs, quantize_observations
from quarl.importers import read_policy
from quarl.importers.proofs import (
    ImportProof,
    prove_import,
    prove_integers,
    sample_observations,
)
from quarl.quantize.calibration import calibrate
from quarl.quantize.ladder import quantize_on_rung
from quarl.runtimes.host import LitertRuntime, OnnxRuntime
from tests.conftest import need
from tests.support.backends import differing_integers
from tests.support.sources import SAMPLES
from tests.support.sources.sample import Sample
from tests.support.sources.table import DOCUMENT, document

ROUNDED = ("dynamic-range", "16x8")  # whose own runtime rounds what the policy does not
READ = [sample for sample in SAMPLES if not sample.refusal]
COUNT = 96


def rows(samples: list[Sample]) -> list[Any]:
    marks = {True: [pytest.mark.slow], False: []}
    return [pytest.param(s, id=s.name, marks=marks[s.is_slow]) for s in samples]


def proof_of(path: Path, policy: Policy | QuantPolicy, sample: Sample) -> Any:
    if isinstance(policy, QuantPolicy):
        return prove_integers(path, policy)
    return prove_import(path, policy, sample.trusts, sample.options.output)


def quantised(policy: Policy | QuantPolicy) -> tuple[QuantPolicy, Any]:
    rng = np.random.default_rng(7)
    obs = sample_observations(policy.contract.observation, COUNT, rng)
    if isinstance(policy, QuantPolicy):
        return policy, obs
    return quantize_on_rung(policy, calibrate(obs, policy.contract), 2), obs


@pytest.mark.parametrize("sample", rows(READ))
def test_a_source_is_read_as_its_framework_computes_it(sample: Sample, tmp_path: Path) -> None:
    need("torch", "stable_baselines3", "tensorflow")
    path = sample.make(tmp_path)
    policy = read_policy(path, sample.options)
    proof = proof_of(path, policy, sample)
    if sample.source.startswith(ROUNDED):
        assert not isinstance(proof, ImportProof)
    else:
        assert isinstance(proof, ImportProof), proof
        assert proof.holds, proof
        assert proof.differing_actions == 0 or proof.max_abs_error > 0
    integers, obs = quantised(policy)
    given = quantize_observations(integers, obs).astype(integers.input_dtype)
    wanted = integer_outputs(integers, obs)
    assert len(np.unique(wanted)) > 3  # a network that says nothing would agree with anything
    np.testing.assert_array_equal(LitertRuntime(emit_tflite(integers)).run(given), wanted)
    np.testing.assert_array_equal(OnnxRuntime(emit_onnx(integers)).run(given), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("sample", rows(READ))
def test_c_gives_the_same_integers(sample: Sample, tmp_path: Path, kernels: Path) -> None:
    need("gcc", "torch", "stable_baselines3", "tensorflow")
    policy = read_policy(sample.make(tmp_path), sample.options)
    integers, obs = quantised(policy)
    found = differing_integers(integers, obs, tmp_path, kernels)
    assert found == {"litert": 0, "onnx": 0, "c": 0}


@pytest.mark.parametrize("sample", rows([s for s in SAMPLES if s.refusal]))
def test_what_is_not_read_is_refused_with_a_reason(sample: Sample, tmp_path: Path) -> None:
    need("torch", "stable_baselines3", "tensorflow")
    path = sample.make(tmp_path)
    with pytest.raises(QuarlError, match=sample.refusal) as caught:
        read_policy(path, sample.options)
    assert caught.value.exit_code == 2
    assert re.search(r"[.:,] ", str(caught.value))


def test_the_table_says_what_the_tests_try() -> None:
    assert DOCUMENT.read_text() == document(), "python -m tests.support.sources.table --write"
    assert len(SAMPLES) >= 60
    assert len(READ) >= 55
    assert len({sample.name for sample in SAMPLES}) == len(SAMPLES)
