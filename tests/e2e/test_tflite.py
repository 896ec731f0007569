"""An int8 `.tflite` of TensorFlow's converter goes through the command line: shown, exported as it
is, compared, judged.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from quarl import pipeline
from quarl.bundle.limits import Limits
from quarl.bundle.manifest import MANIFEST
from quarl.bundle.release import open_bundle
from quarl.exporter.export import ExportRequest
from quarl.files.npz import npz_bytes
from quarl.graph.env_spec import EnvSpec
from quarl.graph.quant_policy import QuantPolicy
from quarl.importers import ImportOptions
from quarl.sources.source import open_source
from quarl.verdict.assess import ParityRequest
from quarl.verdict.planning import AutoEpisodes
from tests.e2e.conftest import Quarl
from tests.e2e.test_bad_input import refused
from tests.support.tflite_models import convert, keras_and_tensorflow

STAGES = {MANIFEST, "contract.json", "model.tflite", "model.onnx", "policy.npz", "example.npz"}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network that balances CartPole, as int8 and as it was."""
    keras, _ = keras_and_tensorflow()
    L = keras.layers
    model = keras.Sequential([L.Input((4,)), L.Dense(16, "relu"), L.Dense(2)])
    hidden, head = np.random.default_rng(0).normal(0, 0.02, (4, 16)), np.zeros((16, 2))
    hidden[:, 0], hidden[:, 1] = (0.1, 0.3, 1.5, 0.8), (-0.1, -0.3, -1.5, -0.8)
    head[0, 1] = head[1, 0] = 1
    model.set_weights([hidden, np.zeros(16), head, np.zeros(2)])
    frames = np.random.default_rng(1).normal(0, 0.5, (100, 4)).astype(np.float32)
    folder = tmp_path_factory.mktemp("converted")
    files = {"cart": convert(model, frames), "float": convert(model, None, kind="FLOAT")}
    for name, content in files.items():
        (folder / f"{name}.tflite").write_bytes(content)
    return {name: folder / f"{name}.tflite" for name in files}


def test_import_shows_graph_contract_and_a_proof_without_any_difference(
    quarl: Quarl, converted: dict[str, Path]
) -> None:
    done = quarl("import", converted["cart"], "--env", "CartPole-v1", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [layer["operation"] for layer in shown["layers"]] == ["dense", "dense"]
    assert shown["contract"]["action"]["count"] == 2
    assert shown["proof"]["max_abs_error"] == 0
    assert shown["proof"]["framework"].startswith("LiteRT 2.")
    text = quarl("import", converted["cart"], "--env", "CartPole-v1").stdout
    assert "largest difference to LiteRT" in text
    assert "observations: 0 (measured)" in text


def test_export_parity_and_gate_keep_the_integers_and_say_what_has_no_source(
    quarl: Quarl, converted: dict[str, Path], tmp_path: Path
) -> None:
    done = quarl("export", converted["cart"], "--env", "CartPole-v1", "--out", "cart")
    assert done.returncode == 0, done.stderr
    assert "the integers of cart.tflite as they are" in done.stdout
    assert {path.name for path in (tmp_path / "cart").iterdir()} == STAGES
    manifest = json.loads((tmp_path / "cart" / MANIFEST).read_text())
    assert (manifest["rung"], manifest["calibration"], manifest["ladder"]) == (None, None, [])
    assert manifest["origin"]["framework"] == "int8 .tflite"
    own = open_source(str(converted["cart"]), ImportOptions(), EnvSpec("CartPole-v1")).policy
    kept = open_bundle(tmp_path / "cart").quantized
    assert isinstance(own, QuantPolicy)
    for ours, node in zip(own.nodes, kept.nodes, strict=True):
        np.testing.assert_array_equal(ours.op.weights, node.op.weights)  # type: ignore[union-attr]

    assert quarl("gate", "cart").returncode == 5  # nothing was gathered yet
    assert quarl("parity", "cart", "--episodes", "20").returncode == 0
    done = quarl("gate", "cart", "--json", "--junit", "gate.xml", "--markdown", "gate.md")
    assert done.returncode == 0, done.stdout
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert (
        checks["equality_litert"]["outcome"]
        == checks["equality_onnxruntime"]["outcome"]
        == checks["example_outputs"]["outcome"]
        == "pass"
    )
    assert checks["source_comparison"]["outcome"] == "reported"
    assert checks["int8_return"]["found"] == 500
    assert "there is no full-precision source" in quarl("gate", "cart").stdout
    assert "there is no full-precision source" in (tmp_path / "gate.md").read_text()


def test_ship_measures_int8_alone_and_proves_the_import(
    quarl: Quarl, converted: dict[str, Path], tmp_path: Path
) -> None:
    done = quarl(
        "ship", converted["cart"], "--env", "CartPole-v1", "--out", "cart", "--episodes", "10"
    )
    assert done.returncode == 0, done.stderr + done.stdout
    profile = json.loads((tmp_path / "cart" / "profile.json").read_text())
    assert {model["precision"] for model in profile["models"]} == {"int8"}
    verdict = json.loads((tmp_path / "cart" / "verdict.json").read_text())
    assert {check["name"]: check["outcome"] for check in verdict["checks"]}[
        "import_error"
    ] == "pass"


def test_auto_plays_what_the_limits_say_where_there_is_nothing_to_prove_against(
    converted: dict[str, Path], tmp_path: Path
) -> None:
    source = open_source(str(converted["cart"]), ImportOptions(), EnvSpec("CartPole-v1"))
    release = pipeline.export(source, tmp_path / "b", ExportRequest(limits=Limits(episodes=9)))
    own = pipeline.parity(release, ParityRequest(episodes=AutoEpisodes())).own
    assert own is not None
    assert len(own.episodes.seeds) == 9


def test_observations_of_a_file_are_enough_to_export(
    quarl: Quarl, converted: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "obs.npz").write_bytes(
        npz_bytes({"obs": np.random.default_rng(2).normal(0, 0.3, (100, 4)).astype(np.float32)})
    )
    meant = ("--action", "discrete:2", "--out", "cart", "--json")
    done = quarl("export", converted["cart"], "--calibration", "obs.npz", *meant)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["env"] is None
    refused(quarl("export", converted["cart"], "--out", "other"), "--env ID", "--action")
    refused(
        quarl("export", converted["float"], "--action", "discrete:2", "--out", "other"),
        "--env ID",
        "--calibration",
    )


def test_a_rung_is_refused_for_integers_that_are_final(
    quarl: Quarl, converted: dict[str, Path]
) -> None:
    refused(
        quarl("export", converted["cart"], "--env", "CartPole-v1", "--rung", "2", "--out", "cart"),
        "--rung 2",
        "omit the option",
    )


def test_a_float_file_is_a_policy_to_quantise(quarl: Quarl, converted: dict[str, Path]) -> None:
    done = quarl(
        "export", converted["float"], "--env", "CartPole-v1", "--rung", "0", "--out", "out"
    )
    assert done.returncode == 0, done.stderr
    assert "on rung 0" in done.stdout


def test_damaged_files_are_refused_in_one_line(
    quarl: Quarl, converted: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "cut.tflite").write_bytes(converted["cart"].read_bytes()[:1000])
    refused(quarl("import", "cut.tflite"), "cut.tflite", "cut off or damaged")
    (tmp_path / "noise.tflite").write_bytes(
        b"\x1c\x00\x00\x00TFL3" + np.random.default_rng(3).bytes(400)
    )
    refused(quarl("import", "noise.tflite"), "noise.tflite", "damaged")
