"""A robot's policy.onnx with nothing but joint targets at its end, and observations that a robot
recorded: firmware and a verdict from the command line alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import need
from tests.e2e.conftest import Quarl

SIZES = (48, 64, 12)  # as Isaac Lab's velocity tasks for a quadruped


def write_policy(path: Path) -> None:
    rng = np.random.default_rng(0)
    constants = {
        "w1": rng.normal(0, 0.14, SIZES[:2]), "b1": rng.normal(0, 0.1, SIZES[1]),
        "w2": rng.normal(0, 0.12, SIZES[1:]), "b2": rng.normal(0, 0.1, SIZES[2]),
    }  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["obs", "w1", "b1"], ["h"], name="first"),
            helper.make_node("Elu", ["h"], ["e"], name="elu"),
            helper.make_node("Gemm", ["e", "w2", "b2"], ["actions"], name="last"),
        ],
        "policy",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, [1, SIZES[0]])],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, [1, SIZES[2]])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.save(model, path)


def walk(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return observations of one recording: each near the one before."""
    rng, now, rows = np.random.default_rng(1), np.zeros(SIZES[0]), []
    for _ in range(count):
        now = 0.9 * now + rng.normal(0, 0.3, SIZES[0])
        rows.append(np.clip(now, -2, 2))
    return np.array(rows, np.float32)


def test_a_file_and_recorded_observations_become_firmware_and_a_verdict(
    quarl: Quarl, tmp_path: Path
) -> None:
    need("ziglang", "unicorn", "elftools", "capstone")
    write_policy(tmp_path / "policy.onnx")
    np.savez(tmp_path / "obs.npz", obs=walk(1500))
    words = ["ship", "policy.onnx", "--calibration", "obs.npz", "--board", "stm32f411_blackpill"]
    asked = quarl(*words, "--out", "asked")
    assert asked.returncode == 2
    assert "--action box:12" in asked.stderr
    done = quarl(*words, "--action", "box:12", "--out", "bundle", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["equality_firmware"]["outcome"] == checks["action_error"]["outcome"] == "pass"
    contract = json.loads((tmp_path / "bundle" / "contract.json").read_text())
    assert contract["action"] | {"kind": "box", "low": [None] * 12} == contract["action"]
    assert "action: the file and --action box:12" in contract["stated"]
    header = (tmp_path / "bundle/firmware/policy/ql_policy.h").read_text()
    assert "float values[12];" in header
