"""Recurrent cells: each framework's own cell is the reference, step by step over whole episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import InputError, UnsupportedError
from quarl.graph.contract import Action
from quarl.graph.policy import Policy
from quarl.graph.state import StateVector
from quarl.importers import ImportOptions, read_policy
from quarl.importers.proofs import ImportProof, episode_outputs, prove_import
from tests.conftest import need
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

OPTIONS = ImportOptions(action_space=Action("box", 3, (-2.0,) * 3, (2.0,) * 3))


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


def keras_layers(kind: str) -> list[Any]:
    from keras import layers

    return {
        "lstm": [layers.LSTM(6)],
        "gru": [layers.GRU(6)],
        "gru that resets before": [layers.GRU(6, reset_after=False)],
        "plain": [layers.SimpleRNN(6)],
        "two layers": [layers.LSTM(5, return_sequences=True), layers.GRU(6)],
        "no bias": [layers.GRU(6, use_bias=False)],
    }[kind]


@pytest.mark.every(2)
@pytest.mark.parametrize(
    "kind", ["lstm", "gru", "gru that resets before", "plain", "two layers", "no bias"]
)
@pytest.mark.parametrize("suffix", ["keras", pytest.param("h5", marks=pytest.mark.slow)])
def test_a_keras_layer_computes_over_an_episode_what_keras_computes(
    kind: str, suffix: str, tmp_path: Path
) -> None:
    need("keras")
    import keras

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((None, FEATURES)), *keras_layers(kind), keras.layers.Dense(3)]
    )
    model.set_weights(
        [
            w + np.float32(0.1) * np.random.default_rng(0).normal(size=w.shape).astype("float32")
            for w in model.get_weights()
        ]
    )
    path = tmp_path / f"policy.{suffix}"
    model.save(path)
    policy = read_policy(path, OPTIONS)
    assert isinstance(policy, Policy)
    obs = wandering(60, 2)
    expected = np.stack([np.asarray(model(obs[None, : k + 1]))[0] for k in range(60)])
    np.testing.assert_allclose(episode_outputs(policy, obs), expected, rtol=0, atol=1e-5)
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof), proof
    assert proof.holds


@pytest.mark.parametrize(
    ("steps", "options", "message"),
    [
        (4, {}, "reads a window of shape"),
        (1, {}, "begins each step with an empty state"),
        (None, {"activation": "relu"}, "has activation='relu'"),
        (None, {"go_backwards": True}, "has go_backwards=True"),
    ],
)
def test_a_keras_layer_that_carries_no_state_is_refused(
    steps: int | None, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    need("keras")
    import keras

    model = keras.Sequential(
        [keras.Input((steps, FEATURES)), keras.layers.GRU(6, **options), keras.layers.Dense(3)]
    )
    model.save(tmp_path / "policy.keras")
    with pytest.raises(UnsupportedError, match=message):
        read_policy(tmp_path / "policy.keras", OPTIONS)


def test_a_stateful_keras_layer_of_one_step_is_carried_over(tmp_path: Path) -> None:
    need("keras")
    import keras

    start = keras.Input(batch_shape=(1, 1, FEATURES))
    model = keras.Sequential([start, keras.layers.LSTM(6, stateful=True), keras.layers.Dense(3)])
    model.save(tmp_path / "policy.keras")
    policy = read_policy(tmp_path / "policy.keras", OPTIONS)
    assert isinstance(policy, Policy)
    obs = wandering(40, 2)
    expected = np.concatenate([np.asarray(model(row[None, None])) for row in obs])
    np.testing.assert_allclose(episode_outputs(policy, obs), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_an_export_of_torch_is_read(kind: str, tmp_path: Path) -> None:
    need("torch")
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            cell = torch.nn.GRU if kind == "gru" else torch.nn.LSTM
            self.cell, self.head = cell(FEATURES, HIDDEN, num_layers=2), torch.nn.Linear(HIDDEN, 3)

        def forward(self, x: Any, *state: Any) -> Any:
            held = state[0] if len(state) == 1 else state
            y, made = self.cell(x.unsqueeze(0), held)
            return self.head(y.squeeze(0)), *(made if isinstance(made, tuple) else (made,))

    torch.manual_seed(0)
    net = Net().eval()
    names = ["h"] if kind == "gru" else ["h", "c"]
    state = tuple(torch.zeros(2, 1, HIDDEN) for _ in names)
    path = tmp_path / "policy.onnx"
    torch.onnx.export(
        net,
        (torch.zeros(1, FEATURES), *state),
        path,
        dynamo=False,
        input_names=["obs", *names],
        output_names=["actions", *(f"{name}_out" for name in names)],
    )
    policy = read_policy(path, OPTIONS)
    assert isinstance(policy, Policy)
    obs, rows = wandering(60, 2), []
    with torch.no_grad():
        for row in obs:
            action, *made = net(torch.from_numpy(row[None]), *state)
            state = tuple(made)
            rows.append(action.numpy())
    np.testing.assert_allclose(
        episode_outputs(policy, obs), np.concatenate(rows), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_recurrent_ppo_plays_as_sb3_contrib_predicts(layers: int, tmp_path: Path) -> None:
    need("stable_baselines3")
    from sb3_contrib import RecurrentPPO

    agent = RecurrentPPO(
        "MlpLstmPolicy",
        "Pendulum-v1",
        n_steps=16,
        device="cpu",
        seed=0,
        policy_kwargs={"lstm_hidden_size": 8, "n_lstm_layers": layers, "net_arch": [8]},
    )
    agent.save(tmp_path / "agent.zip")
    policy = read_policy(tmp_path / "agent.zip")
    assert isinstance(policy, Policy)
    assert policy.algorithm == "RecurrentPPO"
    obs = wandering(60, 2)[:, :3]
    state, start, rows = None, np.ones(1, bool), []
    for row in obs:
        action, state = agent.predict(row, state, start, deterministic=True)
        start = np.zeros(1, bool)
        rows.append(action)
    made = policy.contract.action.decode(episode_outputs(policy, obs).astype(np.float32))
    np.testing.assert_allclose(made, np.stack(rows), rtol=0, atol=1e-5)
    proof = prove_import(tmp_path / "agent.zip", policy, trust=True)
    assert isinstance(proof, ImportProof)
    assert proof.holds
