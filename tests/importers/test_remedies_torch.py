"""What a refusal of weights and programs of torch, and of files like them, advises is done."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest

from quarl.errors import QuarlError
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions, read_policy
from quarl.sources.spaces import observation_from
from tests.conftest import need
from tests.support.bombs import replaced, torch_file
from tests.support.sources.onnx_files import gru, module
from tests.support.sources.rl_tools_files import squashed
from tests.support.sources.sample import box, choice, shaken, told, vector
from tests.support.sources.torch_files import chain, program, saved
from tests.support.sources.torch_files import safetensors as safetensors_file

need("torch")
# ruff: noqa: E402 (the imports below are what is needed)
import torch
from torch import nn

CHAIN = told(choice(3), activation="tanh")


def refused(path: Path, advice: str, options: ImportOptions = CHAIN) -> str:
    with pytest.raises(QuarlError) as caught:
        read_policy(path, options)
    assert caught.value.exit_code == 2
    assert advice in str(caught.value)
    return str(caught.value)


def read(path: Path, options: ImportOptions = CHAIN) -> Policy:
    policy = read_policy(path, options)
    assert isinstance(policy, Policy)
    return policy


def net(*more: Any) -> Any:
    return shaken(nn.Sequential(nn.Linear(5, 8), nn.Tanh(), *more, nn.Linear(8, 3)))


def same(policy: Policy, network: Any) -> None:
    obs = np.random.default_rng(0).normal(size=(20, policy.contract.observation.shape[0]))
    wanted = network(torch.from_numpy(obs.astype(np.float32))).detach().numpy()
    np.testing.assert_allclose(policy.outputs(obs.astype(np.float32)), wanted, atol=1e-5)


def test_numbers_that_numpy_lacks_are_converted(tmp_path: Path) -> None:
    network, path = net().to(torch.bfloat16), tmp_path / "policy.pt"
    torch.save(network.state_dict(), path)
    refused(path, "convert the weights with .float() and save again")
    torch.save(network.float().state_dict(), path)
    same(read(path), network)


def test_a_file_of_another_byte_order_is_saved_on_a_little_endian_machine(tmp_path: Path) -> None:
    network, path = net(), tmp_path / "policy.pt"
    torch.save(network.state_dict(), path)
    content = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (order,) = (name for name in archive.namelist() if name.endswith("byteorder"))
    path.write_bytes(replaced(content, {order: b"big"}))
    refused(path, "load and save it on a little-endian one")
    path.write_bytes(content)
    same(read(path), network)


def test_of_several_policies_the_one_that_acts_is_saved(tmp_path: Path) -> None:
    names = {"fc1": nn.Linear(5, 16), "fc2": nn.Linear(16, 16), "fc_mu": nn.Linear(16, 2)}
    actor, path = nn.ModuleDict(names), tmp_path / "policy.pt"
    torch.save({"actor": actor.state_dict(), "target": actor.state_dict()}, path)
    refused(path, "torch.save the state dict of the one that acts", told(box(2)))
    torch.save(actor.state_dict(), path)
    assert read(path, told(box(2))).contract.action.count == 2


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: {"actor": net(nn.LayerNorm(8))}, "from weights alone: export it to ONNX"),
        (lambda: {"brain": net(nn.LayerNorm(8))}, "export others to ONNX"),
        (
            lambda: {f"a2c_network.{key}": nn.Linear(5, 3) for key in ("actor_mlp", "actor_cnn")},
            "export it to ONNX",
        ),
    ],
)
def test_what_weights_do_not_say_an_onnx_file_does(
    make: Callable[[], dict[str, Any]], advice: str, tmp_path: Path
) -> None:
    path, network = tmp_path / "policy.pt", net()
    state = {
        f"{key}.{name}": value
        for key, part in make().items()
        for name, value in part.state_dict().items()
    }
    torch.save({"model": state} if "a2c_network.actor_mlp.weight" in state else state, path)
    refused(path, advice)
    torch.onnx.export(network, torch.zeros(1, 5), tmp_path / "policy.onnx", dynamo=False)
    same(read(tmp_path / "policy.onnx", told(choice(3))), network)


def test_a_recurrent_layout_of_a_trainer_is_exported_with_its_state(tmp_path: Path) -> None:
    state = {**chain("actor.", 6, 16, 3), "memory.weight_ih_l0": np.zeros((4, 4), np.float32)}
    path = saved(lambda: {"model_state_dict": state})(tmp_path)
    refused(path, "export it to ONNX with its state as input and output")
    made = module(gru, outputs=("action", "h_out"), input_names=["obs", "h_in"])(tmp_path)
    assert [one.length for one in read(made, told(box(2))).contract.state] == [8]


def test_safetensors_are_saved_in_float32(tmp_path: Path) -> None:
    path = safetensors_file(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"F32"', b'"F8_"', 1))
    refused(path, "save the weights in float32")
    path.write_bytes(content)
    assert read(path).contract.action.count == 3


def test_a_program_is_exported_to_onnx_where_torch_is(tmp_path: Path) -> None:
    network, path = net(nn.Linear(8, 16), nn.GLU()), tmp_path / "policy.pt"
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 5)), path)
    text = refused(path, "Export it to ONNX where torch is", told(choice(3)))
    found = re.search(r"torch\.onnx\.export\(.*dynamo=False\)", text)
    assert found is not None
    code = found[0].replace("policy.", f"{tmp_path}/policy.").replace("N)", "5)")
    eval(code, {"torch": torch})
    same(read(tmp_path / "policy.onnx", told(choice(3))), network)


def test_a_file_states_its_joints_in_the_metadata(tmp_path: Path) -> None:
    text = refused(program("script")(tmp_path), "with the metadata joint_names", told())
    assert "torch.onnx.export" in text
    found = re.search(r"onnx\.helper\.set_model_props\(.*\}\)", text)
    assert found is not None
    torch.onnx.export(net(), torch.zeros(1, 5), tmp_path / "p.onnx", dynamo=False)
    model = onnx.load(tmp_path / "p.onnx")
    code = found[0].replace("hip,knee", "hip,knee,foot")
    eval(code, {"onnx": onnx, "model": model})
    onnx.save(model, tmp_path / "p.onnx")
    assert read(tmp_path / "p.onnx", told()).contract.action.names == ("hip", "knee", "foot")


def test_an_archive_without_a_module_is_saved_again(tmp_path: Path) -> None:
    path, network = tmp_path / "policy.pt", net()
    empty = zipfile.ZipFile(path, "w")
    with empty, zipfile.ZipFile(io.BytesIO(torch_file(b"\x80\x02}."))) as source:
        for name in source.namelist():
            empty.writestr(name, source.read(name))
        empty.writestr("a/constants.pkl", b"\x80\x02).")
    refused(path, "save it again with torch.jit.save", told(choice(3)))
    torch.jit.save(torch.jit.script(network), path)
    same(read(path, told(choice(3))), network)


@pytest.mark.parametrize(
    ("attribute", "value", "advice"),
    [
        ("actor/layers/0:type", "transformer", "train with those"),
        ("actor/layers/0/input_layer:activation_function", "SWISH", "train with one of those"),
        ("actor/layers/0/input_layer/weights", None, "save the checkpoint again"),
    ],
)
def test_a_checkpoint_of_rl_tools_is_trained_or_saved_again(
    attribute: str, value: str | None, advice: str, tmp_path: Path
) -> None:
    path = squashed(tmp_path)
    content = path.read_bytes()
    place, _, name = attribute.partition(":")
    with h5py.File(path, "r+") as file:
        if value is None:
            del file[place]
        else:
            assert name in file[place].attrs
            file[place].attrs[name] = value
    refused(path, advice, told(box(3)))
    path.write_bytes(content)
    assert read(path, told(box(3))).contract.action.count == 3


def test_the_text_of_a_program_is_copied_again(tmp_path: Path) -> None:
    network, path = net(), tmp_path / "policy.pt"
    torch.jit.save(torch.jit.script(network), path)
    content = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if name.endswith(".py")]
    path.write_bytes(replaced(content, dict.fromkeys(names, b"def forward(self, x:")))
    refused(path, "copy the file again", told(choice(3)))
    path.write_bytes(content)
    same(read(path, told(choice(3))), network)


def test_the_length_of_an_input_is_said(tmp_path: Path) -> None:
    network, path = nn.Sequential(nn.Tanh(), nn.ELU()), tmp_path / "policy.pt"
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 5)), path)
    refused(path, "add --observation vector:N or image:HxWxC", told(choice(5)))
    same(read(path, told(choice(5), vector(5))), network)


def test_a_space_of_another_length_is_given_as_it_was_trained(tmp_path: Path) -> None:
    path = saved(lambda: chain("net.", 6, 16, 3))(tmp_path)
    refused(path, "give the space as it was trained", told(choice(4), activation="tanh"))
    assert read(path).contract.action.count == 3


@pytest.mark.slow
def test_an_exported_graph_is_saved_again(tmp_path: Path) -> None:
    path = program("export")(tmp_path)
    content = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/models/model.json"))
        members = {member: archive.read(member) for member in archive.namelist()}
    path.write_bytes(replaced(content, {name: b'{"graph_module": 3}'}))
    refused(path, "export it again with torch.export.save", told(box(4)))
    path.write_bytes(replaced(content, {name: b"{"}))
    refused(path, "save the file again", told(box(4)))
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in {**members, f"other/{name}": members[name]}.items():
            archive.writestr(member, data)
    refused(path, "save it with torch.export.save of torch 2.8 or later", told(box(4)))
    path.write_bytes(content)
    assert read(path, told(box(4))).contract.action.count == 4


class Remembering(nn.Module):
    """As Isaac Lab and legged_gym export a recurrent policy: the state is in the module."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.actor = nn.LSTM(5, 8), nn.Linear(8, 3)
        self.register_buffer("hidden_state", torch.zeros(1, 1, 8))
        self.register_buffer("cell_state", torch.zeros(1, 1, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen, (h, c) = self.rnn(x.unsqueeze(0), (self.hidden_state, self.cell_state))
        self.hidden_state[:] = h
        self.cell_state[:] = c
        return self.actor(seen.squeeze(0))  # type: ignore[no-any-return]


def test_a_program_that_keeps_its_state_is_exported_with_it(tmp_path: Path) -> None:
    path = tmp_path / "policy.pt"
    torch.jit.save(torch.jit.script(Remembering().eval()), path)
    text = refused(path, "export it to ONNX with its state as input and output", told(choice(3)))
    assert "recurrent policy (LSTM)" in text
    made = module(gru, outputs=("action", "h_out"), input_names=["obs", "h_in"])(tmp_path)
    assert read(made, told(box(2))).contract.state


class Goal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, obs: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
        return self.net(torch.cat([obs, goal], dim=1))  # type: ignore[no-any-return]


def test_the_lengths_of_several_inputs_are_said(tmp_path: Path) -> None:
    network, path = Goal(), tmp_path / "policy.pt"
    torch.jit.save(torch.jit.trace(network, (torch.zeros(2, 5), torch.zeros(2, 3))), path)
    refused(path, "how long its inputs obs, goal are: add --observation vector:N+vector:N", told())
    said = observation_from("vector:5+vector:3", "--observation")
    policy = read(path, told(choice(3), said))
    obs = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    wanted = network(torch.from_numpy(obs[:, :5]), torch.from_numpy(obs[:, 5:])).detach().numpy()
    np.testing.assert_allclose(policy.outputs(obs), wanted, atol=1e-5)
    assert [part.name for part in policy.contract.observation.parts] == ["obs", "goal"]
    refused(path, "takes 8 values", told(choice(3), observation_from("vector:5+vector:4", "")))
