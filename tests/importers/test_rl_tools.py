"""Checkpoints of rl_tools: read as data, proven by their own examples, refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from quarl.errors import InputError, QuarlError
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions, detect_format, read_policy
from quarl.importers.proofs import ImportProof, NotProven, prove_import
from tests.conftest import need
from tests.support.sources.rl_tools_files import recurrent, squashed
from tests.support.sources.sample import box

need("torch")
OPTIONS = ImportOptions(action_space=box(3))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recurrent(tmp_path_factory.mktemp("rl_tools"))


def changed(made: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    path = shutil.copy(made, folder / "changed.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    return Path(path)


def test_the_contract_says_state_start_and_the_files_notes(made: Path) -> None:
    assert detect_format(made) == "rl_tools"
    policy = read_policy(made, OPTIONS)
    assert isinstance(policy, Policy)
    (state,) = policy.contract.state
    with h5py.File(made) as file:
        start = file["actor/layers/1/initial_hidden_state/parameters"][()]
    np.testing.assert_allclose(state.initial, start)
    assert "environment: name l2f (the file's own note)" in policy.contract.stated


@pytest.mark.parametrize("make", [recurrent, squashed])
def test_it_is_proven_by_its_own_examples_and_a_wrong_weight_shows(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = make(tmp_path)
    policy = read_policy(path, OPTIONS)
    assert isinstance(policy, Policy)
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof)
    assert proof.holds
    assert proof.observations == 80
    with h5py.File(path, "r+") as file:
        file["example/output"][3, 1, 2] += 0.01
    worse = prove_import(path, policy)
    assert isinstance(worse, ImportProof)
    assert not worse.holds
    with h5py.File(path, "r+") as file:
        del file["example"]
    assert isinstance(prove_import(path, policy), NotProven)


def retyped(place: str, name: str, value: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        file[place].attrs[name] = value

    return change


def without(place: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[place]

    return change


def cut(file: Any) -> None:
    weights = file["actor/layers/1/weights_hidden/parameters"][()][:-1]
    del file["actor/layers/1/weights_hidden/parameters"]
    file["actor/layers/1/weights_hidden"].create_dataset("parameters", data=weights)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (retyped("actor/layers/1", "type", "td3_conv"), "actor/layers/1 is a layer of the type"),
        (retyped("actor/layers/0", "activation_function", "GELU"), "has the activation 'GELU'"),
        (without("actor/layers/2/weights"), "actor/layers/2/weights/parameters is missing"),
        (without("actor/layers/0"), "actor has no weights|does not say its type"),
        (without("actor/layers/1/initial_hidden_state"), "shape"),
        (cut, r"shape \(23, 8\), its layer needs \(24, 8\)"),
    ],
)
def test_what_is_missing_or_unknown_is_named(
    made: Path, tmp_path: Path, change: Callable[[Any], None], said: str
) -> None:
    with pytest.raises(QuarlError, match=said) as caught:
        read_policy(changed(made, tmp_path, change), OPTIONS)
    assert caught.value.exit_code == 2


def test_notes_that_are_no_json_are_left_out(made: Path, tmp_path: Path) -> None:
    path = changed(made, tmp_path, retyped("actor", "meta", "{"))
    assert not any("environment" in line for line in read_policy(path, OPTIONS).contract.stated)


def test_what_the_outputs_mean_is_asked(made: Path) -> None:
    with pytest.raises(InputError, match="--action box:3"):
        read_policy(made)
