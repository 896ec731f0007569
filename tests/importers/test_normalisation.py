"""LayerNorm and RMSNorm are carried over: as their framework computes them in float, and the same
integers on every backend.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import UnsupportedError
from quarl.graph.contract import Action
from quarl.graph.policy import Mul, Policy
from quarl.graph.reference import integer_outputs, real_outputs
from quarl.importers import ImportOptions, read_policy
from quarl.importers.proofs import ImportProof, prove_import
from quarl.quantize.calibration import calibrate
from quarl.quantize.ladder import quantize_on_rung
from tests.conftest import need
from tests.support.backends import differing_integers
from tests.support.tflite_models import keras_and_tensorflow

INFINITE = float("inf")
BOX = ImportOptions(action_space=Action("box", 3, (-INFINITE,) * 3, (INFINITE,) * 3))
COUNT = 24


def rms(nn: Any, torch: Any) -> Any:
    class Rms(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(COUNT))

        def forward(self, x: Any) -> Any:
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain

    return Rms()


def exported(kind: str, opset: int, path: Path) -> Path:
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(1)

    def norm() -> Any:
        return nn.LayerNorm(COUNT) if kind == "layer" else rms(nn, torch)

    body = nn.Sequential(
        nn.Linear(8, COUNT), norm(), nn.ELU(), nn.Linear(COUNT, COUNT), norm(), nn.Tanh(),
        nn.Linear(COUNT, 3),
    ).eval()  # fmt: skip
    with torch.no_grad():
        for value in body.parameters():
            value.mul_(1.5).add_(0.2 * torch.randn_like(value))
    axes = {"obs": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            body, (torch.zeros(1, 8),), path, dynamo=False, input_names=["obs"],
            dynamic_axes=axes, opset_version=opset,
        )  # fmt: skip
    return path


@pytest.mark.parametrize(("kind", "opset"), [("layer", 17), ("layer", 16), ("rms", 17)])
def test_a_normalised_network_is_exact_on_every_backend(
    tmp_path: Path, kernels: Path, kind: str, opset: int
) -> None:
    need("torch", "gcc")
    path = exported(kind, opset, tmp_path / "policy.onnx")
    policy = read_policy(path, BOX)
    assert isinstance(policy, Policy)
    assert sum(isinstance(node.op, Mul) for node in policy.nodes) == 2
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof), proof
    assert proof.holds
    obs = np.random.default_rng(0).normal(size=(256, 8)).astype(np.float32)
    wanted = policy.outputs(obs)
    for rung in (0, 2, 5):
        integers = quantize_on_rung(policy, calibrate(obs, policy.contract), rung)
        folder = tmp_path / str(rung)
        folder.mkdir()
        found = differing_integers(integers, obs, folder, kernels)
        assert found == {"litert": 0, "onnx": 0, "c": 0}
        error = np.abs(real_outputs(integers, integer_outputs(integers, obs)) - wanted).mean()
        assert error < 0.01 * np.ptp(wanted)


@pytest.mark.parametrize(
    "build",
    [
        lambda L: L.LayerNormalization(epsilon=1e-4),
        lambda L: L.LayerNormalization(scale=False, center=False),
        lambda L: L.RMSNormalization(),
    ],
)
def test_keras_layers_are_read_alike(tmp_path: Path, build: Callable[[Any], Any]) -> None:
    keras, _ = keras_and_tensorflow()
    L = keras.layers
    model = keras.Sequential(
        [L.Input((5,)), L.Dense(8), build(L), L.Activation("tanh"), L.Dense(3)]
    )
    rng = np.random.default_rng(3)
    for weight in model.weights:
        weight.assign(rng.uniform(0.2, 1, weight.shape) * rng.choice([-1, 1], weight.shape))
    path = tmp_path / "policy.keras"
    model.save(path)
    policy = read_policy(path, BOX)
    assert isinstance(policy, Policy)
    proof = prove_import(path, policy)
    assert isinstance(proof, ImportProof), proof
    assert proof.holds


def test_a_norm_over_rows_of_a_window_is_refused_by_its_shape(tmp_path: Path) -> None:
    need("torch")
    import torch
    from torch import nn

    body = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Flatten(), nn.Linear(32, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(body, (torch.zeros(1, 8, 3),), tmp_path / "p.onnx", dynamo=False)
    with pytest.raises(UnsupportedError, match="one vector is carried over"):
        read_policy(tmp_path / "p.onnx", BOX)
