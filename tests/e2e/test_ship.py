"""The main job, as a user runs it: a trained policy becomes a gated int8 release, and a damaged one
is stopped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from quarl import pipeline
from quarl.bundle.manifest import MANIFEST
from quarl.exporter.export import ExportRequest
from quarl.files.npz import npz_bytes, read_npz
from tests.conftest import need
from tests.e2e.conftest import Quarl

STAGES = {
    "manifest.json",
    "contract.json",
    "model.tflite",
    "model.onnx",
    "policy.npz",
    "source.npz",
    "example.npz",
    "quantization.json",
}
RESULTS = {"profile.json", "parity.json", "verdict.json", "report.html"}


def damage_weights(model: bytes, steps: int) -> bytes:
    """Return the .tflite with one weight of its first int8 constant changed by a few steps."""
    parsed = schema.ModelT.InitFromPackedBuf(model, 0)
    tensors = parsed.subgraphs[0].tensors
    buffer = next(
        t.buffer
        for t in tensors
        if t.type == schema.TensorType.INT8
        and len(t.shape) >= 2
        and parsed.buffers[t.buffer].data is not None
    )
    weights = bytes(parsed.buffers[buffer].data)
    at = model.index(weights) + len(weights) // 2
    changed = (model[at] + steps) % 256
    return model[:at] + bytes([changed]) + model[at + 1 :]


def test_ship_writes_a_bundle_whose_verdict_says_pass(quarl: Quarl, tmp_path: Path) -> None:
    done = quarl(
        "ship",
        "nav_ppo",
        "--out",
        "nav",
        "--episodes",
        "100",
        "--junit",
        "gate.xml",
        "--json",
        "--limits",
        _limits(tmp_path),
    )
    assert done.returncode == 0, done.stderr + done.stdout
    verdict = json.loads((tmp_path / "nav" / "verdict.json").read_text())
    assert verdict == json.loads(done.stdout)
    assert verdict["answer"] == "pass"
    assert {path.name for path in (tmp_path / "nav").iterdir()} == STAGES | RESULTS
    assert (tmp_path / "gate.xml").read_text().startswith("<?xml")


def test_exporting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    source = pipeline.import_source("pendulum_sac")
    first, second = (
        pipeline.export(source, tmp_path / name, ExportRequest(rung=5)) for name in ("a", "b")
    )
    assert {p.name: p.read_bytes() for p in first.folder.iterdir()} == {
        p.name: p.read_bytes() for p in second.folder.iterdir()
    }


@pytest.mark.parametrize("is_manifest_forged", [False, True])
def test_gate_stops_a_bundle_whose_weights_were_damaged_and_says_where(
    quarl: Quarl, bundle_copy: Path, is_manifest_forged: bool
) -> None:
    path = bundle_copy / "model.tflite"
    path.write_bytes(damage_weights(path.read_bytes(), 5))
    if is_manifest_forged:
        manifest = json.loads((bundle_copy / MANIFEST).read_text())
        manifest["files"]["model.tflite"] = hashlib.sha256(path.read_bytes()).hexdigest()
        (bundle_copy / MANIFEST).write_text(json.dumps(manifest))
    done = quarl("gate", bundle_copy, "--json")
    assert done.returncode == 1, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["equality_litert"]["outcome"] == "fail"
    assert "first at observation" in checks["equality_litert"]["detail"]
    assert checks["equality_onnxruntime"]["outcome"] == "pass"
    assert checks["files_unchanged"]["outcome"] == "fail"
    assert ("parity.json" if is_manifest_forged else "model.tflite") in checks["files_unchanged"][
        "detail"
    ]


def test_gate_stops_a_bundle_whose_integers_do_not_answer_its_example(
    quarl: Quarl, bundle_copy: Path
) -> None:
    path = bundle_copy / "policy.npz"
    arrays = read_npz(path)
    weights = next(name for name in sorted(arrays) if name.endswith(".weights"))
    arrays[weights] = np.where(arrays[weights] > 100, 90, arrays[weights]).astype(np.int8)
    path.write_bytes(npz_bytes(arrays))
    done = quarl("gate", bundle_copy)
    assert done.returncode == 1
    assert "example_outputs" in done.stdout
    assert "must not be released" in done.stdout


def test_gate_without_evidence_proves_nothing_and_says_how_to_gather_it(
    quarl: Quarl, bundle_copy: Path
) -> None:
    (bundle_copy / "parity.json").unlink()
    done = quarl("gate", bundle_copy)
    assert done.returncode == 5
    assert "quarl parity" in done.stdout


def test_gate_passes_again_after_parity_was_gathered_again(quarl: Quarl, bundle_copy: Path) -> None:
    (bundle_copy / "parity.json").unlink()
    assert quarl("parity", bundle_copy).returncode == 0
    assert quarl("gate", bundle_copy).returncode == 0


def test_limits_of_a_file_are_judged_on_top_of_the_bundles_own(
    quarl: Quarl, bundle_copy: Path, tmp_path: Path
) -> None:
    (tmp_path / "gate.toml").write_text("[gate.budgets]\nmodel_tflite_bytes = 100\n")
    done = quarl("gate", bundle_copy, "--limits", "gate.toml", "--markdown", "gate.md")
    assert done.returncode == 1
    assert "budget_model_tflite_bytes" in done.stdout
    assert "mean_return" in (tmp_path / "gate.md").read_text().replace("\\", "")


def test_gate_appends_its_summary_where_the_ci_collects_it(
    quarl: Quarl, bundle_copy: Path, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    assert quarl("gate", bundle_copy, env={"GITHUB_STEP_SUMMARY": str(summary)}).returncode == 0
    assert summary.read_text().startswith("before\n")
    assert "equality_litert" in summary.read_text().replace("\\", "")


def test_a_file_with_an_environment_is_exported_like_a_shipped_policy(
    quarl: Quarl, tmp_path: Path
) -> None:
    weights = shutil.copy(pipeline.import_source("cartpole_ppo").file, tmp_path / "mine.zip")
    done = quarl(
        "export", weights, "--env", "CartPole-v1", "--rung", "3", "--out", "mine", "--json"
    )
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "mine" / MANIFEST).read_text())
    assert manifest["rung"] == 3
    assert manifest["env"] == {"id": "CartPole-v1", "kwargs": {}, "wrappers": []}
    assert manifest["origin"]["file"] == "mine.zip"
    assert manifest["calibration"]["episodes"] == 40
    assert 10 < manifest["limits"]["random_return"] < 40  # played, since no recipe says it


@pytest.mark.parametrize("verb", ["policies", "boards", "doctor"])
def test_verbs_without_arguments_answer_in_json(quarl: Quarl, verb: str) -> None:
    done = quarl(verb, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert quarl(verb).stdout


def test_ship_for_a_board_writes_firmware_that_answers_like_the_host_and_keeps_the_deadline(
    quarl: Quarl, tmp_path: Path
) -> None:
    need("ziglang", "unicorn")
    done = quarl(
        "ship", "pendulum_sac", "--rung", "3", "--board", "nucleo_l4r5zi", "--out", "out", "--json"
    )
    assert done.returncode == 0, done.stderr + done.stdout
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["equality_firmware"]["outcome"] == "pass"
    assert checks["budget_firmware_latency_us"]["kind"] == "estimated"
    assert checks["budget_firmware_latency_us"]["found"] < 50_000
    assert (tmp_path / "out" / "firmware" / "policy" / "ql_policy.h").is_file()
    counted = json.loads((tmp_path / "out" / "firmware.nucleo_l4r5zi.json").read_text())
    assert (counted["board"], counted["differing"]) == ("nucleo_l4r5zi", 0)


def test_a_misspelt_board_is_named_with_what_it_may_mean(quarl: Quarl) -> None:
    done = quarl("export", "pendulum_sac", "--board", "nucleo_l4r5", "--out", "out")
    assert done.returncode == 2
    assert "nucleo_l4r5zi" in done.stderr


def test_import_shows_graph_contract_and_proof(quarl: Quarl) -> None:
    done = quarl("import", "cartpole_ppo", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [layer["operation"] for layer in shown["layers"]] == [
        "dense",
        "tanh",
        "dense",
        "tanh",
        "dense",
    ]
    assert shown["contract"]["action"] == {
        "kind": "discrete",
        "count": 2,
        "low": [],
        "high": [],
        "transform": "argmax",
    }
    assert shown["proof"]["max_abs_error"] <= 1e-5


def test_profile_is_measured_for_both_precisions_in_both_runtimes(finished_bundle: Path) -> None:
    profile = json.loads((finished_bundle / "profile.json").read_text())
    assert profile["kind"] == "measured"
    measured = {(model["runtime"], model["precision"]) for model in profile["models"]}
    assert measured == {
        (runtime, precision)
        for runtime in ("litert", "onnxruntime")
        for precision in ("float32", "int8")
    }
    assert all(
        min(model["latency"]["samples_us"]) > 0 and model["memory"]["peak_bytes"] > 0
        for model in profile["models"]
    )


def _limits(folder: Path) -> Path:
    """Return limits that 100 episodes can prove."""
    path = folder / "gate.toml"
    path.write_text(
        "[gate]\nepisodes = 100\nmargin = 0.15\nrandom_return = -21.0\nfailure = "
        "'success'\nfailure_margin = 0.12\n"
    )
    return path


def test_a_prefix_names_everything_that_an_application_sees(quarl: Quarl, tmp_path: Path) -> None:
    options = ("--rung", "3", "--board", "nrf52840_dk", "--out", "out")
    done = quarl("export", "cartpole_ppo", *options, "--prefix", "pole")
    assert done.returncode == 0, done.stderr
    own = {path.name for path in (tmp_path / "out" / "firmware" / "policy").glob("pole*")}
    assert own == {"pole.c", "pole.h", "pole_check.c"}
    refused = quarl("export", "cartpole_ppo", *options, "--prefix", 'x"; int y;')
    assert refused.returncode == 2
    assert "must be a letter" in refused.stderr
