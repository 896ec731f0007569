"""Checkpoints of Chainer: files laid out as chainer.serializers writes them, by NumPy and h5py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from quarl.errors import InputError, QuarlError, UnsupportedError, UntrustedFileError
from quarl.graph.contract import Action
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions, detect_format, read_policy
from quarl.importers.chainer import in_order
from quarl.importers.proofs import ImportProof, prove_import
from tests.conftest import need
from tests.support.sources.chainer_files import Arrays, linear, mlp, saved

TOLD = ImportOptions(action_space=Action("discrete", 3), activation="relu")


def given(arrays: Arrays, names: list[str], obs: NDArray[Any]) -> NDArray[Any]:
    """Return what Linear links with ReLU between them give: x W^T + b."""
    x = obs.astype(np.float64)
    for place, name in enumerate(names):
        x = x @ arrays[f"{name}/W"].T + arrays[f"{name}/b"]
        x = np.maximum(x, 0) if place + 1 < len(names) else x
    return x


def read(path: Path, options: ImportOptions = TOLD) -> Policy:
    policy = read_policy(path, options)
    assert isinstance(policy, Policy)
    return policy


def refused(path: Path, options: ImportOptions = TOLD) -> str:
    with pytest.raises(QuarlError) as caught:
        read_policy(path, options)
    assert caught.value.exit_code == 2
    return str(caught.value)


OBS = np.random.default_rng(1).normal(size=(30, 5)).astype(np.float32)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_a_chain_of_links_is_read(suffix: str, tmp_path: Path) -> None:
    need("torch")
    path = saved(mlp(), tmp_path / f"model{suffix}")
    assert detect_format(path) == "chainer"
    policy = read(path)
    wanted = given(mlp(), ["l1", "l2", "l3"], OBS)
    np.testing.assert_allclose(policy.outputs(OBS), wanted, atol=1e-5)
    assert policy.contract.stated == (
        "observation: the file",
        "action: --env",
        "activation relu: --activation",
        "activation none after the last layer",
    )
    assert (policy.algorithm, policy.framework) == ("unknown", "chainer")
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof)
    assert proof.holds


def test_the_critic_of_chainerrl_is_left_out_with_a_line(tmp_path: Path) -> None:
    arrays = {
        **linear("pi/model/hidden_layers/0", 5, 8),
        **linear("pi/model/hidden_layers/1", 8, 8),
        **linear("pi/model/output", 8, 3),
        **linear("v/hidden_layers/0", 5, 8),
        **linear("v/output", 8, 1),
    }
    policy = read(saved(arrays, tmp_path / "model.npz"))
    names = [f"pi/model/{name}" for name in ("hidden_layers/0", "hidden_layers/1", "output")]
    np.testing.assert_allclose(policy.outputs(OBS), given(arrays, names, OBS), atol=1e-5)
    assert "v: left out, not the policy" in policy.contract.stated


def test_of_several_networks_one_is_asked_for(tmp_path: Path) -> None:
    path = saved({**mlp("left/"), **mlp("right/", 4)}, tmp_path / "model.npz")
    text = refused(path)
    assert "--output left" in text
    policy = read(path, ImportOptions(TOLD.normalizer, output="left", **chosen()))
    wanted = given(mlp("left/"), ["left/l1", "left/l2", "left/l3"], OBS)
    np.testing.assert_allclose(policy.outputs(OBS), wanted, atol=1e-5)
    assert "--output top: it has left, right" in refused(path, ImportOptions(output="top"))


def chosen() -> dict[str, Any]:
    return {"action_space": TOLD.action_space, "activation": TOLD.activation}


def test_networks_that_could_follow_one_another_are_not_joined(tmp_path: Path) -> None:
    """A policy of as many outputs as inputs, and what looks like more layers of it."""
    arrays = {**mlp("main/", 5), **mlp("other/")}
    assert "several networks" in refused(saved(arrays, tmp_path / "model.npz"))


def test_an_end_in_tanh_is_named_with_the_activation(tmp_path: Path) -> None:
    path = saved(mlp(outputs=2), tmp_path / "model.npz")
    action = Action("box", 2, (-3.0,) * 2, (3.0,) * 2)
    policy = read(path, ImportOptions(action_space=action, activation="relu,tanh"))
    wanted = 3 * np.tanh(given(mlp(outputs=2), ["l1", "l2", "l3"], OBS))
    np.testing.assert_allclose(policy.act(OBS), wanted, atol=1e-5)
    assert "activation tanh after the last layer: --activation" in policy.contract.stated


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"norm/gamma": np.ones(8, np.float32)}, "norm/gamma of shape (8,)"),
        ({"conv/W": np.ones((2, 3, 3, 3), np.float32)}, "conv/W of shape (2, 3, 3, 3)"),
        ({"norm/N": np.array(3)}, "norm/N of shape"),
        (linear("l4", 7, 3), "do not follow one another"),
        (linear("spare", 8, 8), "do not follow one another"),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_other_links_are_refused_with_the_way_over_onnx(
    suffix: str, more: Arrays, words: str, tmp_path: Path
) -> None:
    text = refused(saved({**mlp(), **more}, tmp_path / f"model{suffix}"))
    assert words in text
    assert "onnx_chainer.export(model, x, filename='policy.onnx')" in text


def test_what_the_file_does_not_say_is_asked(tmp_path: Path) -> None:
    path = saved(mlp(), tmp_path / "model.h5")
    assert "--activation" in refused(path, ImportOptions())
    assert "--action box:3" in refused(path, ImportOptions(activation="relu"))


def test_order_is_that_of_the_widths_and_numbers() -> None:
    widths = {"out": (8, 3), "l10": (8, 8), "l9": (8, 8), "first": (5, 8)}
    assert in_order(widths) == ("first", "l9", "l10", "out")
    assert in_order({"a": (5, 8), "b": (8, 8), "c": (8, 8)}) is None  # b and c may change places
    assert in_order({"a": (5, 8), "b": (7, 3)}) is None
    assert in_order({}) is None
    assert in_order({f"{'x' * n}": (8, 8) for n in range(16)}) is None


def test_damaged_and_hostile_files_are_refused(tmp_path: Path) -> None:
    content = saved(mlp(), tmp_path / "model.h5").read_bytes()
    for length in (200, 1000, len(content) - 40):
        (tmp_path / "cut.h5").write_bytes(content[:length])
        refused(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["l1/W"] = np.ones((3, 5), np.float32)
        file["l2"] = h5py.ExternalLink("model.h5", "l2")
    with pytest.raises(UntrustedFileError, match="l2 is a link to somewhere else"):
        read_policy(tmp_path / "link.h5", TOLD)
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("l1/W", (1 << 13, 1 << 12), "f4", compression=9, chunks=(64, 64))
        file["l1/b"] = np.ones(3, np.float32)
    with pytest.raises(UntrustedFileError, match=r"l1/W claims 134,217,728 bytes, the file holds"):
        read_policy(tmp_path / "bomb.h5", TOLD)
    objects = {"l1/W": np.array([None, {}], object)}
    np.savez(tmp_path / "objects.npz", **objects)  # type: ignore[arg-type]
    with pytest.raises(UntrustedFileError, match="holds Python objects"):
        read_policy(tmp_path / "objects.npz", TOLD)


def test_a_single_link_has_no_path(tmp_path: Path) -> None:
    arrays = {name.removeprefix("l/"): array for name, array in linear("l", 5, 3).items()}
    policy = read(saved(arrays, tmp_path / "model.npz"), ImportOptions(**chosen()))
    np.testing.assert_allclose(policy.outputs(OBS), OBS @ arrays["W"].T + arrays["b"], atol=1e-5)


def test_an_npz_of_observations_is_not_a_policy(tmp_path: Path) -> None:
    np.savez(tmp_path / "obs.npz", obs=OBS)
    with pytest.raises(InputError, match="not a policy file"):
        read_policy(tmp_path / "obs.npz")
    with pytest.raises(UnsupportedError):
        read_policy(saved({"a/W": np.ones((2, 2, 2, 2))}, tmp_path / "a.npz"), TOLD)
