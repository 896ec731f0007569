"""What tests and the bench ask of a policy that learned in integers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl import pipeline
from quarl.exporter.export import ExportRequest
from quarl.finetune.assignment import TRAINING
from quarl.graph.reference import act
from quarl.quantize.ladder import TRAINED_RUNG
from quarl.sources.source import Source

QAT = "\n[qat]\nweights = 4\nactivations = 6\ninputs = 10\ndelay = 0.5\n"


def anywhere(space: Any, count: int) -> NDArray[np.float32]:
    """Return observations all over a box, or within 3 where it has no end."""
    size = np.minimum(np.abs(space.high), 3)
    rng = np.random.default_rng(0)
    return rng.uniform(-size, size, (count, *space.shape)).astype(np.float32)


def steps_of(run: Path) -> list[int]:
    """Return after how many steps each policy of a training was judged."""
    with (run / "curve.csv").open(newline="") as file:
        return [int(row["steps"]) for row in csv.DictReader(file)]


def shipped_as_trained(folder: Path, bundle_folder: Path) -> Source:
    """Check that the bundle of a CartPole policy has the integers of its folder; return the
    source.
    """
    source = pipeline.import_source(str(folder))
    assert source.integers is not None
    bundle = pipeline.export(source, bundle_folder, ExportRequest())
    assert bundle.manifest.rung == TRAINED_RUNG
    assert json.loads(bundle.file(TRAINING))["kind"] == "qat"
    obs = np.random.default_rng(0).normal(0, 0.1, (50, 4)).astype(np.float32)
    np.testing.assert_array_equal(act(bundle.quantized, obs), act(source.integers, obs))
    return source
