"""What an export imports: what it computes with, and nothing that plays, judges or tests."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from quarl.resources import models_dir
from quarl.tools import run

PROGRAM = """
import json, sys
from pathlib import Path
from quarl import pipeline
from quarl.exporter.request import ExportRequest
source = pipeline.import_source(sys.argv[1])
pipeline.export(source, Path(sys.argv[3]), ExportRequest(calibration=Path(sys.argv[2]), rung=3))
print(json.dumps(sorted(sys.modules)))
"""
NOT_NEEDED = (
    "scipy.stats",
    "quarl.stats.noninferiority",
    "quarl.evidence.closed_loop",
    "quarl.rollouts.episodes",
    "quarl.verdict.judge",
    "quarl.profiles",
    "quarl.reports",
    "torch",
    "onnxruntime",
)


def test_an_export_on_a_rung_imports_no_statistics_and_plays_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    observations = tmp_path / "obs.npz"
    np.savez(observations, obs=rng.normal(size=(200, 4)).astype(np.float32))
    policy = models_dir() / "cartpole_ppo" / "policy.zip"
    argv = [sys.executable, "-c", PROGRAM, policy, observations, tmp_path / "out"]
    done = run(argv, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert not [name for name in NOT_NEEDED if name in loaded]
