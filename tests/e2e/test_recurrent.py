"""A recurrent policy from its file to a verdict on an emulated Cortex-M4."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import need
from tests.e2e.conftest import Quarl
from tests.support.recall_env import recall_policy

ROOT = Path(__file__).parents[2]


@pytest.mark.play
@pytest.mark.parametrize("kind", ["LSTM", pytest.param("GRU", marks=pytest.mark.slow)])
def test_a_recurrent_policy_passes_its_gate_on_an_emulated_cortex_m4(
    kind: str, quarl: Quarl, tmp_path: Path
) -> None:
    need("ziglang", "unicorn", "elftools", "capstone")
    (tmp_path / "recall.onnx").write_bytes(recall_policy(kind))
    done = quarl(
        "ship",
        "recall.onnx",
        "--env",
        "tests.support.recall_env:Recall-v0",
        "--board",
        "stm32f411_blackpill",
        "--out",
        "bundle",
        "--json",
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr + done.stdout
    verdict = json.loads(done.stdout)
    checks = {check["name"]: check for check in verdict["checks"]}
    assert checks["equality_firmware"]["outcome"] == "pass"
    assert checks["mean_return"]["outcome"] == "pass"
    assert checks["state_drift"]["found"] < 0.05
    header = (tmp_path / "bundle/firmware/policy/ql_policy.h").read_text()
    assert "void ql_policy_state_reset(ql_policy_state *state);" in header
    played = quarl(
        "play", "bundle", "--int8", "--episodes", "3", "--json", env={"PYTHONPATH": str(ROOT)}
    )
    assert played.returncode == 0, played.stderr
