"""Recurrent cells: each framework's own cell is the reference, step by step over whole episodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quarl.errors import InputError, UnsupportedError
from quarl.graph.state import StateVector
from quarl.importers.proofs import ImportProof, episode_outputs, prove_import
from tests.support.recurrent_policies import (
    FEATURES,
    HIDDEN,
    Kind,
    read_model,
    recurrent_model,
    recurrent_policy,
    run_in_turn,
    wandering,
)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [("LSTM", {}), ("GRU", {}), ("GRU", {"linear_before_reset": 1}), ("RNN", {})],
)
@pytest.mark.parametrize("layers", [1, 2])
def test_a_cell_computes_over_an_episode_what_onnx_runtime_computes(
    kind: Kind, attributes: dict[str, int], layers: int, tmp_path: Path
) -> None:
    model = recurrent_model(kind, layers=layers, **attributes)
    policy = read_model(model, tmp_path)
    obs = wandering(200, 1)
    expected = run_in_turn(model, obs)
    np.testing.assert_allclose(episode_outputs(policy, obs), expected, rtol=0, atol=1e-5)
    proof = prove_import(tmp_path / "policy.onnx", policy)
    assert isinstance(proof, ImportProof)
    assert proof.holds


def test_the_contract_says_what_is_carried(tmp_path: Path) -> None:
    policy = recurrent_policy("LSTM", tmp_path)
    assert policy.contract.state == (StateVector("c", HIDDEN), StateVector("h", HIDDEN))
    assert policy.contract.observation.shape == (FEATURES,)
    assert any("h: carried from step to step, from h_out" in s for s in policy.contract.stated)


def test_a_state_that_is_no_input_is_refused_since_nothing_would_be_remembered(
    tmp_path: Path,
) -> None:
    model = recurrent_model("GRU")
    del model.graph.input[1]
    cell = next(node for node in model.graph.node if node.op_type == "GRU")
    del cell.input[5:]
    nodes = [node for node in model.graph.node if node.op_type != "Slice"]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with pytest.raises(UnsupportedError, match="begins each step with a state that is no input"):
        read_model(model, tmp_path)


def test_a_next_state_that_is_no_output_is_refused(tmp_path: Path) -> None:
    model = recurrent_model("GRU")
    del model.graph.output[1]
    with pytest.raises(UnsupportedError, match="its next value is not an output"):
        read_model(model, tmp_path)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"activations": ["Sigmoid", "Relu"]}, "has the functions Sigmoid, Relu"),
        ({"clip": 1.0}, "clips its sums"),
        ({"layout": 1}, "has layout=1"),
    ],
)
def test_a_cell_that_computes_something_else_is_refused(
    attributes: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises((UnsupportedError, InputError), match=message):
        read_model(recurrent_model("GRU", **attributes), tmp_path)
