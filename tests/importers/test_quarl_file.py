"""Policies that quarl wrote are read as they are, with their contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quarl.bundle.policy_file import policy_bytes, quant_policy_bytes
from quarl.errors import InputError
from quarl.graph.contract import Normalizer
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers import ImportOptions, detect_format, read_policy
from quarl.importers.proofs import ImportProof, prove_import
from quarl.quantize.calibration import calibrate
from quarl.quantize.ladder import quantize_on_rung
from tests.conftest import need
from tests.support.small_policies import mlp


@pytest.fixture
def policy() -> Policy:
    return mlp(np.random.default_rng(0), (5, 16, 16, 3), "tanh")


def test_floats_and_integers_come_back_as_they_were(tmp_path: Path, policy: Policy) -> None:
    obs = np.random.default_rng(0).normal(size=(64, *policy.contract.observation.shape))
    integers = quantize_on_rung(policy, calibrate(obs, policy.contract), 3)
    (tmp_path / "policy.npz").write_bytes(policy_bytes(policy))
    (tmp_path / "integers.npz").write_bytes(quant_policy_bytes(integers))
    assert detect_format(tmp_path / "policy.npz") == "quarl"
    floats, made = read_policy(tmp_path / "policy.npz"), read_policy(tmp_path / "integers.npz")
    assert isinstance(floats, Policy)
    assert isinstance(made, QuantPolicy)
    assert policy_bytes(floats) == policy_bytes(policy)
    assert quant_policy_bytes(made) == quant_policy_bytes(integers)


def test_a_normaliser_from_outside_is_refused(tmp_path: Path, policy: Policy) -> None:
    (tmp_path / "policy.npz").write_bytes(policy_bytes(policy))
    count = policy.contract.observation.shape[0]
    other = Normalizer((0.0,) * count, (1.0,) * count, 1e-8, 10.0)
    with pytest.raises(InputError, match="omit --obs-norm"):
        read_policy(tmp_path / "policy.npz", ImportOptions(normalizer=other))


def test_torch_gives_the_same_outputs(tmp_path: Path, policy: Policy) -> None:
    need("torch")
    (tmp_path / "policy.npz").write_bytes(policy_bytes(policy))
    proof = prove_import(tmp_path / "policy.npz", policy)
    assert isinstance(proof, ImportProof)
    assert proof.holds


def test_another_npz_is_not_taken_for_a_policy(tmp_path: Path) -> None:
    np.savez(tmp_path / "obs.npz", obs=np.zeros(3))
    with pytest.raises(InputError, match="not a policy file"):
        read_policy(tmp_path / "obs.npz")
