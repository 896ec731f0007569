"""What an export does where observations or a return to choose by are missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from quarl.bundle.limits import DEFAULT_LIMITS
from quarl.emitters import emit_tflite
from quarl.exporter.export import DRAWN_LINE, ExportRequest, export_policy
from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Policy, linear_chain
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import quantize_observations
from quarl.importers import ImportOptions
from quarl.importers.tflite import read_tflite
from quarl.quantize.calibration import drawn
from quarl.quantize.ladder import DEFAULT_RUNG
from quarl.sources.source import Source
from quarl.workers.progress import Reporter
from tests.support.random_policies import CASES, random_policy
from tests.support.samples import dense


def test_integers_are_exported_without_observations_and_that_is_said(tmp_path: Path) -> None:
    image = next(name for name, (shape, *_) in CASES.items() if len(shape) == 3)
    path = tmp_path / "model.tflite"
    made = random_policy(image, np.random.default_rng(5))
    path.write_bytes(emit_tflite(made))
    options = ImportOptions(action_space=Action("discrete", made.contract.action.count))
    policy = read_tflite(path, options)
    assert isinstance(policy, QuantPolicy)
    lines: list[str] = []
    source = Source(policy, path, None, None)
    release = export_policy(
        source, tmp_path / "bundle", ExportRequest(), Reporter(line=lines.append)
    )
    assert lines == [DRAWN_LINE]
    assert release.example.obs.dtype == np.uint8
    assert len(np.unique(release.example.obs)) > 100  # all over the range


def test_drawn_observations_reach_every_integer_of_a_vector() -> None:
    vector = next(name for name, (shape, *_) in CASES.items() if len(shape) == 1)
    policy = random_policy(vector, np.random.default_rng(5))
    made = drawn(policy.observation, policy.contract, 1)
    integers = quantize_observations(policy, made.obs)
    tensor = policy.observation.tensor
    assert integers.min() <= tensor.qmin + 2
    assert integers.max() >= tensor.qmax - 2


def test_where_no_return_can_choose_the_observations_given_do(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    contract = Contract(Observation((2,), "float32", "vector"), Action("discrete", 3))
    layers = linear_chain([("head", dense(rng, 2, 3))])
    policy = Policy(layers, contract, "unknown", "test", "0" * 64)
    source = Source(policy, tmp_path / "p.onnx", None, EnvSpec("MountainCar-v0"))
    limits = replace(DEFAULT_LIMITS, episodes=150, random_return=0.0)
    obs = rng.normal(size=(64, 2)).astype(np.float32)
    lines: list[str] = []
    release = export_policy(
        source,
        tmp_path / "bundle",
        ExportRequest(limits=limits, calibration=obs),
        Reporter(line=lines.append),
    )
    assert release.manifest.rung == DEFAULT_RUNG
    assert any("nothing can be chosen by it" in line for line in lines)
