"""What a refusal of an agent, an HDF5 file or a checkpoint's folder advises is done."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from quarl.errors import QuarlError
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions, read_policy
from quarl.importers.rllib_folder import MODULES
from quarl.importers.spaces import observation_of
from tests.conftest import need
from tests.support.bombs import replaced
from tests.support.keras2 import keras2_model
from tests.support.sources.sample import told
from tests.support.sources.sb3_files import agent

GOLDEN = Path(__file__).parents[1] / "golden" / "rllib"
RAW = told(no_normalizer=True)


def refused(path: Path, advice: str, options: ImportOptions = RAW) -> str:
    with pytest.raises(QuarlError) as caught:
        read_policy(path, options)
    assert caught.value.exit_code == 2
    assert advice in str(caught.value)
    return str(caught.value)


def edited(path: Path, edit: Callable[[dict[str, Any]], None]) -> bytes:
    content = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        data = json.loads(archive.read("data"))
    edit(data)
    return replaced(content, {"data": json.dumps(data).encode()})


def kind(name: str) -> Callable[[dict[str, Any]], None]:
    def edit(data: dict[str, Any]) -> None:
        data["observation_space"][":type:"] = f"<class 'gymnasium.spaces.{name.lower()}.{name}'>"
        data["observation_space"]["spaces"] = "{'words': Text(1, 9)}"

    return edit


def damaged(data: dict[str, Any]) -> None:
    data["action_space"] |= {":type:": "<class 'x.Discrete'>", "n": "many"}


def floats(data: dict[str, Any]) -> None:
    data["observation_space"] |= {"dtype": "float32", "_shape": [3, 4, 5]}


@pytest.fixture(scope="module")
def zip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("stable_baselines3", "torch")
    return agent("PPO", "vector", "Discrete")(tmp_path_factory.mktemp("agent"))


@pytest.mark.parametrize(
    ("edit", "advice"),
    [
        (damaged, "save the agent again"),
        (lambda data: data.pop("action_space"), "save the agent again with Stable-Baselines3"),
        (kind("Sequence"), "flatten them with a wrapper into a Box and retrain"),
        (kind("Dict"), "flatten them with a wrapper and retrain"),
        (floats, "use FlattenObservation, or keep the pixels uint8 and let the policy divide them"),
    ],
)
def test_an_agent_is_saved_again_or_retrained_on_a_box(
    edit: Any, advice: str, zip_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "agent.zip"
    path.write_bytes(edited(zip_file, edit))
    refused(path, advice)
    shutil.copy(zip_file, path)
    assert read_policy(path, RAW).contract.observation.shape == (5,)


def test_an_agent_of_pixels_keeps_them_uint8(tmp_path: Path) -> None:
    need("stable_baselines3", "torch")
    path = agent("PPO", "image", "Discrete", "CnnPolicy")(tmp_path)
    content = path.read_bytes()
    path.write_bytes(edited(path, lambda data: data["observation_space"].update(dtype="float32")))
    refused(path, "keep the pixels uint8 and let the policy divide them")
    path.write_bytes(content)
    assert read_policy(path, RAW).contract.observation.is_image


def test_a_damaged_description_is_copied_again(zip_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "agent.zip"
    path.write_bytes(replaced(zip_file.read_bytes(), {"data": b"{"}))
    refused(path, "copy or save the file again")
    shutil.copy(zip_file, path)
    assert read_policy(path, RAW).contract.action.count == 3


def test_a_policy_that_is_not_read_is_exported_to_onnx(tmp_path: Path) -> None:
    need("sb3_contrib", "torch")
    import torch
    from sb3_contrib import CrossQ

    path = agent("CrossQ", "vector", "Box", use_sde=True)(tmp_path)
    refused(path, "export the policy to ONNX")
    actor = CrossQ.load(path, device="cpu").policy.actor.eval()
    mean = actor.mu if isinstance(actor.mu, torch.nn.Sequential) else torch.nn.Sequential(actor.mu)
    network = torch.nn.Sequential(actor.latent_pi, mean, torch.nn.Tanh()).eval()
    file = tmp_path / "policy.onnx"
    torch.onnx.export(network, torch.zeros(1, 5), file, dynamo=False)
    policy = read_policy(file, told(observation=None, action=action(2)))
    assert isinstance(policy, Policy)
    obs = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    wanted = network(torch.from_numpy(obs)).detach().numpy()
    np.testing.assert_allclose(policy.outputs(obs), wanted, atol=1e-4)


def action(count: int) -> Any:
    from quarl.graph.contract import Action

    return Action("box", count, (-1.0,) * count, (1.0,) * count)


def test_a_recurrent_agent_of_pixels_is_trained_on_features(tmp_path: Path) -> None:
    need("sb3_contrib", "torch")
    path = agent("RecurrentPPO", "image", "Discrete", "CnnLstmPolicy")(tmp_path)
    refused(path, "Train on features of the picture")
    other = agent("RecurrentPPO", "vector", "Discrete", "MlpLstmPolicy")(tmp_path)
    policy = read_policy(other, RAW)
    assert policy.contract.state


def compress(file: Any, place: str) -> None:
    values = file[place][()]
    del file[place]
    file.create_dataset(place, data=values, compression="gzip")


def in_float16(file: Any, place: str) -> None:
    values = file[place][()].astype(np.float16)
    del file[place]
    file[place] = values


def linked(file: Any, place: str) -> None:
    del file[place]
    file[place] = h5py.ExternalLink("other.h5", "/w")


def drop(file: Any, place: str) -> None:
    del file[place]


@pytest.mark.parametrize(
    ("edit", "advice"),
    [
        (compress, "load the model and save it again"),
        (in_float16, "save the model in float32"),
        (linked, "save the model again as one file"),
        (drop, "save the model again"),
    ],
)
def test_an_hdf5_file_is_saved_again(edit: Any, advice: str, tmp_path: Path) -> None:
    content, path = keras2_model("vector")[0], tmp_path / "policy.h5"
    path.write_bytes(content)
    options = told(action(outputs(path)))
    with h5py.File(path, "r+") as file:
        places: list[str] = []
        file["model_weights"].visititems(
            lambda name, found: (
                places.append(f"model_weights/{name}")
                if isinstance(found, h5py.Dataset) and found.dtype == np.float32
                else None
            )
        )
        edit(file, places[0])
    refused(path, advice, options)
    path.write_bytes(content)
    assert read_policy(path, options).contract.action.kind == "box"


def outputs(path: Path) -> int:
    with pytest.raises(QuarlError) as caught:
        read_policy(path)
    found = re.search(r"what its (\d+) outputs mean|its (\d+) action values", str(caught.value))
    assert found is not None, caught.value
    return int(found[1] or found[2])


def test_of_several_modules_the_folder_of_one_is_given(tmp_path: Path) -> None:
    path = Path(shutil.copytree(GOLDEN / "ppo_box", tmp_path / "checkpoint"))
    (module,) = (path / MODULES).iterdir()
    shutil.copytree(module, module.with_name("other_policy"))
    text = refused(path, "give the folder of one", told())
    found = re.search(r"give the folder of one, (\S+)", text)
    assert found is not None
    assert read_policy(Path(found[1]), told()).contract.action.kind == "box"


def test_a_space_is_flattened_or_wrapped_as_advised() -> None:
    space = spaces.Sequence(spaces.Discrete(3))
    with pytest.raises(QuarlError, match="flatten it with a wrapper"):
        observation_of(space, "Words-v0")
    assert observation_of(spaces.MultiDiscrete([3, 3]), "Words-v0").shape == (6,)
    with pytest.raises(QuarlError, match=r"wrap the environment \(gymnasium.wrappers"):
        observation_of(spaces.Box(0, 1, (4, 5, 3)), "Eye-v0")
    assert observation_of(spaces.Box(0, 1, (60,)), "Eye-v0").shape == (60,)


def test_one_of_two_words_on_the_normaliser_is_kept(zip_file: Path) -> None:
    from quarl.graph.contract import Normalizer

    normalizer = Normalizer((0.0,) * 5, (1.0,) * 5, 1e-8, 10.0)
    with pytest.raises(QuarlError, match="keep the one that tells how the policy was trained"):
        ImportOptions(normalizer=normalizer, no_normalizer=True)
    for kept in (ImportOptions(normalizer=normalizer), RAW):
        assert read_policy(zip_file, kept).contract.observation.normalizer == kept.normalizer


def test_an_activation_that_jumps_is_replaced(tmp_path: Path) -> None:
    need("stable_baselines3", "torch")
    more = {"policy_kwargs": {"activation_fn": "Hardshrink"}}
    refused(agent("PPO", "vector", "Discrete", **more)(tmp_path), "train with one of them")
    more = {"policy_kwargs": {"activation_fn": "Tanh"}}
    policy = read_policy(agent("PPO", "vector", "Discrete", **more)(tmp_path), RAW)
    assert policy.contract.action.count == 3
