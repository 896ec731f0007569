"""Checkpoints of rsl_rl and rl_games, bare state dicts and safetensors give the network that torch
computes; what they do not say is asked for.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quarl.errors import InputError, QuarlError, UnsupportedError, UntrustedFileError
from quarl.graph.contract import Action, Normalizer
from quarl.graph.policy import Activation, Policy
from quarl.importers import ImportOptions, detect_format, read_policy
from quarl.importers.proofs import ImportProof, prove_import
from tests.conftest import need

INFINITE = float("inf")
TARGETS = Action("box", 12, (-INFINITE,) * 12, (INFINITE,) * 12)
RNG = np.random.default_rng(0)


def linear(outputs: int, inputs: int) -> dict[str, NDArray[np.float32]]:
    weights = RNG.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)
    return {"weight": weights, "bias": RNG.normal(0, 0.1, outputs).astype(np.float32)}


def chain(prefix: str, *widths: int) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of Linear layers at 0, 2, 4 ... of a Sequential."""
    return {
        f"{prefix}{2 * place}.{name}": value
        for place, (inputs, outputs) in enumerate(pairwise(widths))
        for name, value in linear(outputs, inputs).items()
    }


def save(found: Any, path: Path) -> Path:
    need("torch")
    import torch

    def tensors(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tensors(entry) for key, entry in value.items()}
        return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

    torch.save(tensors(found), path)
    return path


def statistics(prefix: str, count: int) -> dict[str, NDArray[np.float32]]:
    return {
        f"{prefix}_mean": RNG.normal(size=(1, count)).astype(np.float32),
        f"{prefix}_var": np.full((1, count), 4, np.float32),
        f"{prefix}_std": np.full((1, count), 2, np.float32),
    }


def rsl_rl_of_1() -> dict[str, Any]:
    state = {**chain("actor.", 48, 32, 12), **chain("critic.", 48, 32, 1)}
    return {
        "model_state_dict": {**state, "std": np.ones(12, np.float32)},
        "obs_norm_state_dict": statistics("", 48),
        "iter": 100,
        "infos": None,
    }


def rsl_rl_of_3() -> dict[str, Any]:
    state = {**chain("actor.", 48, 32, 12), **statistics("actor_obs_normalizer.", 48)}
    return {"model_state_dict": state, "iter": 100, "infos": {"best": np.float64(3)}}


def rsl_rl_of_5() -> dict[str, Any]:
    state = {**chain("mlp.", 48, 32, 12), **statistics("obs_normalizer.", 48)}
    return {"actor_state_dict": state, "critic_state_dict": chain("mlp.", 48, 32, 1), "iter": 1}


@pytest.mark.parametrize("make", [rsl_rl_of_1, rsl_rl_of_3, rsl_rl_of_5])
def test_a_checkpoint_of_rsl_rl_is_its_actor_with_its_normaliser(tmp_path: Path, make: Any) -> None:
    path = save(make(), tmp_path / "model_100.pt")
    options = ImportOptions(action_space=TARGETS, activation="elu")
    policy = read_policy(path, options)
    assert isinstance(policy, Policy)
    normalizer = policy.contract.observation.normalizer
    assert normalizer is not None
    np.testing.assert_allclose(normalizer.std, 2.01, rtol=1e-6)  # std + 0.01
    assert policy.contract.action == TARGETS
    assert policy.nodes[1].op == Activation("elu")
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof), proof
    assert proof.holds


def test_what_the_file_does_not_say_is_asked_for_and_found_beside_it(tmp_path: Path) -> None:
    path = save(rsl_rl_of_1(), tmp_path / "model_100.pt")
    with pytest.raises(InputError, match="--activation elu"):
        read_policy(path, ImportOptions(action_space=TARGETS))
    with pytest.raises(InputError, match="what its 12 outputs mean"):
        read_policy(path, ImportOptions(activation="elu"))
    with pytest.raises(InputError, match="activation 'wobble', known are"):
        read_policy(path, ImportOptions(action_space=TARGETS, activation="wobble"))
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "agent.yaml").write_text("policy:\n  activation: selu\n  std: 1.0\n")
    policy = read_policy(path, ImportOptions(action_space=TARGETS))
    assert isinstance(policy, Policy)
    assert policy.nodes[1].op == Activation("selu")
    assert "activation selu: agent.yaml" in policy.contract.stated


def rl_games(**heads: dict[str, NDArray[np.float32]]) -> dict[str, Any]:
    state = {
        **chain("a2c_network.actor_mlp.", 20, 32, 16),
        "running_mean_std.running_mean": RNG.normal(size=20),
        "running_mean_std.running_var": np.full(20, 4.0),
        "a2c_network.sigma": np.zeros(4, np.float32),
        **{f"a2c_network.value.{name}": value for name, value in linear(1, 16).items()},
    }
    for head, layer in heads.items():
        state |= {f"a2c_network.{head}.{name}": value for name, value in layer.items()}
    wrapped = {f"_orig_mod.{name}": value for name, value in state.items()}
    return {"model": wrapped, "epoch": 5, "last_mean_rewards": np.float64(3.2), "env_state": None}


def test_a_checkpoint_of_rl_games_stretches_its_actions(tmp_path: Path) -> None:
    path = save(rl_games(mu=linear(4, 16)), tmp_path / "robot.pth")
    box = Action("box", 4, (-2.0,) * 4, (2.0,) * 4)
    policy = read_policy(path, ImportOptions(action_space=box, activation="elu"))
    assert isinstance(policy, Policy)
    assert policy.contract.action.transform == "unscale"
    normalizer = policy.contract.observation.normalizer
    assert normalizer is not None
    assert (normalizer.epsilon, normalizer.clip_obs) == (1e-5, 5.0)
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof), proof
    assert proof.holds


def test_choices_of_rl_games_are_read_from_the_file(tmp_path: Path) -> None:
    one = save(rl_games(logits=linear(3, 16)), tmp_path / "one.pth")
    policy = read_policy(one, ImportOptions(activation="elu"))
    assert policy.contract.action == Action("discrete", 3)
    heads = {"logits.0": linear(3, 16), "logits.1": linear(2, 16)}
    several = save(rl_games(**heads), tmp_path / "several.pth")
    policy = read_policy(several, ImportOptions(activation="elu"))
    assert isinstance(policy, Policy)
    assert policy.contract.action == Action("multi_discrete", 5, counts=(3, 2))
    proof = prove_import(several, policy)
    assert isinstance(proof, ImportProof), proof
    assert proof.holds


def test_recurrent_and_seeing_checkpoints_are_refused_by_what_they_are(tmp_path: Path) -> None:
    found = rl_games(mu=linear(4, 16))
    found["model"]["a2c_network.rnn.rnn.weight_ih_l0"] = np.zeros((4, 4), np.float32)
    with pytest.raises(UnsupportedError, match=r"recurrent.*ONNX"):
        read_policy(save(found, tmp_path / "a.pt"), ImportOptions(activation="elu"))
    found = rl_games(mu=linear(4, 16))
    found["model"]["a2c_network.actor_cnn.0.weight"] = np.zeros((4, 3, 3, 3), np.float32)
    with pytest.raises(UnsupportedError, match="export it to ONNX"):
        read_policy(save(found, tmp_path / "b.pt"), ImportOptions(activation="elu"))


@pytest.mark.parametrize("prefix", ["", "actor.", "module.policy.net."])
def test_a_bare_chain_needs_its_activation(tmp_path: Path, prefix: str) -> None:
    path = save(chain(prefix, 6, 16, 16, 3), tmp_path / "state.pt")
    answer = ImportOptions(action_space=Action("discrete", 3), activation="silu")
    with pytest.raises(QuarlError, match="--activation tanh"):
        read_policy(path, ImportOptions(action_space=Action("discrete", 3)))
    policy = read_policy(path, answer)
    assert isinstance(policy, Policy)
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof), proof
    assert proof.holds


def safetensors(tensors: dict[str, NDArray[Any]], path: Path) -> Path:
    header, body = {}, b""
    for name, value in tensors.items():
        kind = {"f4": "F32", "f2": "F16", "f8": "F64"}[value.dtype.str[1:]]
        data = np.ascontiguousarray(value).tobytes()
        places = [len(body), len(body) + len(data)]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": places}
        body += data
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_safetensors_are_read_as_the_same_tensors(tmp_path: Path, dtype: str) -> None:
    state = {name: value.astype(dtype) for name, value in chain("actor.", 6, 16, 16, 3).items()}
    path = safetensors(state, tmp_path / "model.safetensors")
    assert detect_format(path) == "safetensors"
    options = ImportOptions(action_space=Action("discrete", 3), activation="tanh")
    policy = read_policy(path, options)
    assert isinstance(policy, Policy)
    need("torch")
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof), proof
    assert proof.holds


@pytest.mark.parametrize(
    ("field", "value", "error", "words"),
    [
        ("dtype", "BF16", UnsupportedError, "holds BF16 numbers"),
        ("shape", [9, 9], UntrustedFileError, "claims 81 numbers"),
        ("shape", [-1, 6], InputError, "damaged"),
        ("data_offsets", [0, 10**9], UntrustedFileError, "claims"),
        ("data_offsets", None, InputError, "damaged"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(
    tmp_path: Path, field: str, value: Any, error: type[QuarlError], words: str
) -> None:
    path = safetensors(chain("actor.", 6, 16, 3), tmp_path / "model.safetensors")
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["actor.0.weight"][field] = value
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    with pytest.raises(error, match=words):
        read_policy(path)


def test_a_cut_header_is_refused(tmp_path: Path) -> None:
    path = safetensors(chain("actor.", 6, 16, 3), tmp_path / "model.safetensors")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(QuarlError):
        read_policy(path)


@pytest.mark.parametrize("gates", [4, 3, 1])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_recurrent_checkpoint_of_rsl_rl_is_what_torch_computes_over_an_episode(
    tmp_path: Path, gates: int, layers: int
) -> None:
    state = {**chain("actor.", 16, 32, 12), **statistics("actor_obs_normalizer.", 48)}
    for layer in range(layers):
        for name, shape in (
            ("weight_ih", (gates * 16, 16 if layer else 48)),
            ("weight_hh", (gates * 16, 16)),
            ("bias_ih", (gates * 16,)),
            ("bias_hh", (gates * 16,)),
        ):
            values = RNG.normal(0, 0.15, shape).astype(np.float32)
            state[f"memory_a.rnn.{name}_l{layer}"] = values
            state[f"memory_c.rnn.{name}_l{layer}"] = values
    path = save({"model_state_dict": state, "iter": 1}, tmp_path / "model_100.pt")
    policy = read_policy(path, ImportOptions(action_space=TARGETS, activation="elu"))
    assert isinstance(policy, Policy)
    assert len(policy.contract.state) == layers * (2 if gates == 4 else 1)
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof), proof
    assert proof.holds


def skrl(*, scaled: bool = True) -> dict[str, Any]:
    """An agent as skrl's runner makes it: three modules of one checkpoint."""
    head = {f"policy_layer.{k[2:]}": v for k, v in chain("", 16, 3).items()}
    policy = {**chain("net_container.", 6, 16, 16), **head, "log_std_parameter": np.zeros(3)}
    scaler = {
        "running_mean": RNG.normal(size=6),
        "running_variance": RNG.uniform(0.5, 2, 6),
        "current_count": np.array(9.0),
    }
    value = {**chain("net_container.", 6, 16, 16), **chain("value_layer.", 16, 1)}
    found = {"policy": policy, "value": value, "optimizer": {"step": 3}}
    return found | ({"state_preprocessor": scaler} if scaled else {})


@pytest.mark.parametrize("scaled", [True, False])
def test_a_checkpoint_of_skrl_is_its_policy_with_its_scaler(tmp_path: Path, scaled: bool) -> None:
    found = skrl(scaled=scaled)
    path = save(found, tmp_path / "best_agent.pt")
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "agent.yaml").write_text(
        "models:\n  policy:\n    network:\n    - name: net\n      activations: elu\n"
    )
    bounds = (-np.inf,) * 3, (np.inf,) * 3
    policy = read_policy(path, ImportOptions(action_space=Action("box", 3, *bounds)))
    assert isinstance(policy, Policy)
    obs = RNG.normal(0, 2, (40, 6)).astype(np.float32)
    x = obs.astype(np.float64)
    if scaled:
        scaler = found["state_preprocessor"]
        spread = np.sqrt(scaler["running_variance"]) + 1e-8
        x = np.clip((x - scaler["running_mean"]) / spread, -5, 5)
    for name in ("net_container.0", "net_container.2", "policy_layer.0"):
        weights = found["policy"][f"{name}.weight" if "net" in name else "policy_layer.weight"]
        bias = found["policy"][f"{name}.bias" if "net" in name else "policy_layer.bias"]
        x = x @ weights.T + bias
        x = np.where(x > 0, x, np.expm1(np.minimum(x, 0))) if "net" in name else x
    np.testing.assert_allclose(policy.outputs(obs), x, atol=1e-4)
    assert "activation elu: agent.yaml" in policy.contract.stated
    assert "activation none after the last layer" in policy.contract.stated


CHOICE = ImportOptions(action_space=Action("discrete", 3), activation="tanh")


@pytest.mark.parametrize(
    "parts",
    [
        {**chain("trunk.", 6, 16, 16), **chain("actor.", 16, 16, 3)},
        {**chain("net.", 6, 16, 16), **chain("head.", 16, 3)},
        {**chain("policy.body.", 6, 16, 3), "policy.mu.weight": np.ones((3, 3), np.float32)},
    ],
)
def test_a_part_of_a_network_is_not_taken_for_all_of_it(tmp_path: Path, parts: Any) -> None:
    """An actor behind a trunk was read as a policy that observes the trunk's 16 numbers."""
    with pytest.raises(QuarlError, match="ONNX"):
        read_policy(save(parts, tmp_path / "state.pt"), CHOICE)


@pytest.mark.parametrize("name", ["obs_rms.mean", "obs_mean", "running_variance", "norm._std"])
def test_statistics_that_nobody_explains_are_asked_about(tmp_path: Path, name: str) -> None:
    """They were passed over, and the policy taken for one of raw observations."""
    state = {**chain("net.", 6, 16, 3), name: np.ones((1, 6), np.float32)}
    path = save(state, tmp_path / "state.pt")
    with pytest.raises(InputError, match=rf"also holds {name}, statistics.*--obs-norm FILE.npz"):
        read_policy(path, CHOICE)
    assert read_policy(path, replace(CHOICE, no_normalizer=True)).contract.action.count == 3
    normalizer = Normalizer((0.0,) * 6, (1.0,) * 6, 1e-8, 10.0)
    policy = read_policy(path, replace(CHOICE, normalizer=normalizer))
    assert policy.contract.observation.normalizer == normalizer
    beside = {"model": chain("net.", 6, 16, 3), "obs_rms": {"mean": np.ones(6, np.float32)}}
    with pytest.raises(InputError, match="also holds mean, statistics"):
        read_policy(save(beside, tmp_path / "beside.pt"), CHOICE)
