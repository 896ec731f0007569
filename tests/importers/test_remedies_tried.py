"""What a refusal advises is done here, word for word, and leads to a policy."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from quarl.errors import QuarlError, UnsupportedError
from quarl.graph.contract import Action
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions, read_policy
from quarl.importers.spaces import observation_of
from quarl.sources.normalizer_file import read_normalizer
from tests.conftest import need
from tests.support.sources.sample import shaken

CHOICE = ImportOptions(action_space=Action("discrete", 3), activation="tanh")


def refused(path: Path, options: ImportOptions = CHOICE) -> str:
    with pytest.raises(QuarlError) as caught:
        read_policy(path, options)
    assert caught.value.exit_code == 2
    return str(caught.value)


def advised(text: str, pattern: str) -> str:
    """Return the code in a message."""
    found = re.search(pattern, text)
    assert found is not None, text
    return found[0]


def read(path: Path) -> Policy:
    policy = read_policy(path, CHOICE)
    assert isinstance(policy, Policy)
    return policy


def torch_net() -> Any:
    from torch import nn

    return shaken(nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)))


@pytest.mark.parametrize("pickled", ["torch", "bare"])
def test_of_a_pickled_agent_the_state_dict_is_saved(pickled: str, tmp_path: Path) -> None:
    need("torch")
    import torch

    agent, path = torch_net(), tmp_path / "agent.pt"
    if pickled == "torch":
        torch.save(agent, path)
    else:
        path.write_bytes(pickle.dumps(agent))
    code = advised(refused(path), r"torch\.save\(agent\.state_dict\(\), FILE\)")
    file = tmp_path / "state.pt"
    eval(code, {"torch": torch, "agent": agent, "FILE": file})
    obs = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    wanted = agent(torch.from_numpy(obs)).detach().numpy()
    np.testing.assert_allclose(read(file).outputs(obs), wanted, atol=1e-6)


def test_a_network_in_training_mode_is_exported_in_evaluation_mode(tmp_path: Path) -> None:
    need("torch")
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    path = tmp_path / "policy.onnx"

    def export(training: Any) -> None:
        torch.onnx.export(
            model, torch.zeros(2, 5), path, dynamo=False, training=training,
            do_constant_folding=False,
        )  # fmt: skip

    export(torch.onnx.TrainingMode.TRAINING)
    eval(advised(refused(path), r"model\.eval\(\)"), {"model": model})
    export(torch.onnx.TrainingMode.EVAL)
    assert read(path).contract.observation.shape == (5,)


def test_a_picture_of_floats_is_flattened_by_the_named_wrapper() -> None:
    import gymnasium

    class Eye(gymnasium.Env[Any, Any]):
        observation_space = spaces.Box(0, 1, (4, 5, 3))
        action_space = spaces.Discrete(3)

    with pytest.raises(UnsupportedError) as caught:
        observation_of(Eye.observation_space, "Eye-v0")
    code = advised(str(caught.value), r"gymnasium\.wrappers\.FlattenObservation")
    wrapped = eval(code, {"gymnasium": gymnasium})(Eye())
    assert observation_of(wrapped.observation_space, "Eye-v0").shape == (60,)


def test_statistics_in_another_pickle_are_given_as_arrays(tmp_path: Path) -> None:
    path = tmp_path / "vecnormalize.pkl"
    path.write_bytes(pickle.dumps({"mean": [0.0]}))
    with pytest.raises(QuarlError) as caught:
        read_normalizer(path)
    names = advised(str(caught.value), r"mean, var, epsilon, clip_obs").split(", ")
    values = dict(zip(names, (np.zeros(5), np.ones(5), 1e-8, 10.0), strict=True))
    np.savez(tmp_path / "statistics.npz", **values)  # type: ignore[arg-type]
    assert len(read_normalizer(tmp_path / "statistics.npz").mean) == 5


@pytest.mark.slow
def test_weights_alone_are_saved_as_a_whole_model(tmp_path: Path) -> None:
    need("tensorflow")
    import keras

    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(3)]
    )
    model.save_weights(tmp_path / "policy.weights.h5")
    code = advised(refused(tmp_path / "policy.weights.h5"), r"model\.save\('policy\.keras'\)")
    eval(code.replace("policy.keras", str(tmp_path / "policy.keras")), {"model": model})
    assert read(tmp_path / "policy.keras").contract.observation.shape == (5,)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["open", "stateful"])
def test_a_recurrent_layer_that_forgets_is_given_its_state(way: str, tmp_path: Path) -> None:
    need("tensorflow")
    import keras

    def model(shape: Any, **more: Any) -> Any:
        first = keras.Input(shape) if isinstance(shape, tuple) else shape
        return keras.Sequential([first, keras.layers.GRU(6, **more), keras.layers.Dense(3)])

    path = tmp_path / "policy.keras"
    model((1, 5)).save(path)
    text = refused(path)
    if way == "stateful":
        more = eval(f"dict({advised(text, r'stateful=True')})")
        model(keras.Input(batch_shape=(1, 1, 5)), **more).save(path)
    else:
        model((4, 5)).save(path)
        code = advised(refused(path), r"keras\.Input\(\(None, features\)\)")
        model(eval(code, {"keras": keras, "features": 5})).save(path)
    assert [state.length for state in read(path).contract.state] == [6]
