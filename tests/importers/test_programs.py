"""TorchScript archives and `torch.export` files give the network that torch computes, and run
nothing.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import InputError, QuarlError, UnsupportedError, UntrustedFileError
from quarl.graph.contract import Action, Observation
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions, detect_format
from quarl.importers import read_policy as ask_policy
from quarl.importers.proofs import ImportProof, NotProven, prove_import
from tests.conftest import need
from tests.support.answers import answering

read_policy = answering(ask_policy)


def actor() -> Any:
    """An actor as robots carry them: normalised input, two heads, a clip."""
    import torch
    from torch import nn

    class Actor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Linear(8, 16), nn.ELU(0.5), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 16)
            )
            self.act, self.head = nn.SiLU(), nn.Linear(16, 4)
            self.register_buffer("mean", torch.linspace(-1, 1, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.act(self.body((x - self.mean) / 2.0))
            left, right = torch.chunk(self.head(y), 2, dim=-1)
            return torch.clamp(torch.cat([left, torch.tanh(right)], dim=-1), -1.5, 1.5)

    torch.manual_seed(4)
    module = Actor()
    module(torch.randn(64, 8))
    return module.eval()


def pixels() -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(120, 3)
    ).eval()


def scripted(module: Any, example: Any, path: Path) -> None:
    import torch

    torch.jit.script(module).save(str(path))


def traced(module: Any, example: Any, path: Path) -> None:
    import torch

    torch.jit.trace(module, example).save(str(path))


def frozen(module: Any, example: Any, path: Path) -> None:
    import torch

    torch.jit.freeze(torch.jit.script(module)).save(str(path))


def exported(module: Any, example: Any, path: Path) -> None:
    import torch

    torch.export.save(torch.export.export(module, (example,)), path)


KINDS = {"script": scripted, "trace": traced, "freeze": frozen, "export": exported}


def save(kind: str, module: Any, shape: tuple[int, ...], path: Path) -> Path:
    need("torch")
    import torch

    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        KINDS[kind](module, torch.zeros(2, *shape), path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_an_actor_is_read_as_torch_computes_it(tmp_path: Path, kind: str) -> None:
    need("torch")
    path = save(kind, actor(), (8,), tmp_path / "policy.pt")
    assert detect_format(path) == ("pt2" if kind == "export" else "torchscript")
    box = Action("box", 4, (-1.5,) * 4, (1.5,) * 4)
    policy = read_policy(path, ImportOptions(action_space=box))
    assert isinstance(policy, Policy)
    assert policy.contract.observation.shape == (8,)
    assert policy.contract.observation.normalizer is not None  # its own first steps
    assert isinstance(prove_import(path, policy), NotProven)  # torch would run its program
    if kind == "export":  # its graph was traced for two observations
        return
    proof = prove_import(path, policy, trust=True)
    assert isinstance(proof, ImportProof), proof
    assert proof.holds


def test_a_linear_layer_is_called_so_though_a_program_adds_its_bias(tmp_path: Path) -> None:
    need("torch")
    import torch

    path = tmp_path / "policy.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(5, 3)), path)
    with pytest.raises(InputError, match="the network ends in a linear layer"):
        ask_policy(path)


def test_a_linear_end_is_asked_about(tmp_path: Path) -> None:
    need("torch")
    from torch import nn

    path = save("script", nn.Sequential(nn.Linear(3, 2)), (3,), tmp_path / "policy.pt")
    with pytest.raises(InputError, match="what its 2 outputs mean"):
        ask_policy(path)


@pytest.mark.parametrize("kind", ["script", "export"])
def test_pixels_need_to_be_said(tmp_path: Path, kind: str) -> None:
    need("torch")
    path = save(kind, pixels(), (2, 12, 10), tmp_path / "policy.pt")
    with pytest.raises(InputError, match="--observation"):
        read_policy(path)
    image = Observation((12, 10, 2), "uint8", "hwc")
    policy = read_policy(path, ImportOptions(observation=image))
    obs = np.random.default_rng(0).integers(0, 256, (2, 12, 10, 2), np.uint8)
    import torch

    with torch.no_grad():
        wanted = pixels_of(path, kind)(
            torch.from_numpy(obs.transpose(0, 3, 1, 2) / np.float32(255))
        )
    assert np.abs(policy.outputs(obs) - wanted.numpy()).max() < 1e-5


def pixels_of(path: Path, kind: str) -> Callable[[Any], Any]:
    import torch

    if kind == "export":
        return torch.export.load(path).module()  # type: ignore[no-any-return]
    return torch.jit.load(str(path))  # type: ignore[no-any-return]


def test_what_is_not_read_is_named_with_the_way_round(tmp_path: Path) -> None:
    need("torch")
    import torch
    from torch import nn

    class Sorted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sort(x)[0]

    class Loop(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(int(x.shape[1])):
                x = x * 2
            return x

    for module, words in ((Sorted(), "torch's sort"), (Loop(), "torch's program")):
        path = save("script", module, (3,), tmp_path / "policy.pt")
        with pytest.raises(UnsupportedError, match=f"{words}.*torch.onnx.export"):
            read_policy(path, ImportOptions(observation=Observation((3,), "float32", "vector")))


def edited(path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Write the archive again with each member changed; None leaves one out."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    path.write_bytes(out.getvalue())
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class A(Module):\n  def forward(", "not the text of a program"),
        ("def forward(self, x):\n  return " + "(" * 500, "levels deep"),
    ],
)
def test_damaged_text_is_refused(tmp_path: Path, text: str, words: str) -> None:
    need("torch")
    path = save("script", actor(), (8,), tmp_path / "policy.pt")
    edited(path, lambda name, data: text.encode() if b"class Actor(" in data else data)
    with pytest.raises(InputError, match=words):
        read_policy(path)


def test_a_program_without_end_is_refused(tmp_path: Path) -> None:
    need("torch")
    path = save("script", actor(), (8,), tmp_path / "policy.pt")
    text = "class Actor(Module):\n  def forward(s, x):\n    return (s).forward(x, )\n"
    edited(path, lambda name, data: text.encode() if b"class Actor(" in data else data)
    with pytest.raises(UnsupportedError, match="calls itself"):
        read_policy(path)


def test_a_pickle_that_asks_for_more_than_the_program_is_refused(tmp_path: Path) -> None:
    need("torch")
    path = save("script", actor(), (8,), tmp_path / "policy.pt")
    evil = b"\x80\x02cos\nsystem\nq\x00X\x02\x00\x00\x00lsq\x01\x85q\x02Rq\x03."
    edited(path, lambda name, data: evil if name.endswith("/data.pkl") else data)
    with pytest.raises(UntrustedFileError, match=r"asks to load os.system"):
        read_policy(path)


@pytest.mark.parametrize("kind", ["script", "export"])
def test_a_file_cut_anywhere_raises_nothing_but_our_errors(tmp_path: Path, kind: str) -> None:
    need("torch")
    path = save(kind, actor(), (8,), tmp_path / "policy.pt")
    members = {"script": "data.pkl", "export": "model.json"}
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole)
        edited(
            path,
            lambda name, data, share=share: (  # type: ignore[misc]
                data[: int(len(data) * share)] if name.endswith(members[kind]) else data
            ),
        )
        with pytest.raises(QuarlError):
            read_policy(path)
