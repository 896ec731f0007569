"""float16 beside the integers: two more files of a bundle, where there is a float policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarl import pipeline
from quarl.errors import InputError
from quarl.exporter.export import ExportRequest
from quarl.quantize.ladder import quantize_on_rung
from quarl.runtimes.host import LitertRuntime
from quarl.sources.observations import observations_of
from quarl.study.paper import rounded_to_half


def test_a_bundle_may_hold_the_float_policy_in_float16(tmp_path: Path) -> None:
    source = pipeline.import_source("cartpole_ppo")
    request = ExportRequest(rung=3, half=True)
    bundle = pipeline.export(source, tmp_path / "bundle", request)
    assert {"fp16/model.tflite", "fp16/model.onnx"} <= set(bundle.manifest.files)
    assert bundle.changed_files == ()
    obs = observations_of(source, None)[1].obs
    runtime = LitertRuntime((tmp_path / "bundle" / "fp16" / "model.tflite").read_bytes())
    found = runtime.run(source.policy.graph_input(obs))  # type: ignore[union-attr]
    wanted = rounded_to_half(source.policy).outputs(obs)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_file_of_integers_has_no_float_policy_to_write(tmp_path: Path) -> None:
    source = pipeline.import_source("cartpole_ppo")
    integers = quantize_on_rung(source.policy, observations_of(source, None)[0], 2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"--fp16: policy\.zip holds integers, no float policy"):
        pipeline.export(replace(source, policy=integers), tmp_path / "b", ExportRequest(half=True))
