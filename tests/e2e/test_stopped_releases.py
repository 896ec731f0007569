"""A change that worsens a shipped policy is stopped by the right check with a message that names
the cause; an untouched one passes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from quarl import pipeline
from quarl.boards.microcontroller import find_board
from quarl.bundle.limits import Limits
from quarl.bundle.release import Release, open_bundle
from quarl.errors import DeviceError, QuarlError
from quarl.exporter.export import ExportRequest
from quarl.exporter.fixed import fixed_rung
from quarl.files.npz import npz_bytes, read_npz
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy, QuantWeighted
from quarl.links.target import Target
from quarl.profiles.measure import read_measurements
from quarl.quantize.calibration import Calibration
from quarl.resources import firmware_dir, models_dir, targets_dir
from quarl.rollouts.actors import source_actor
from quarl.rollouts.collect import collect_observations
from quarl.sources.source import Source
from quarl.verdict.baseline import baseline_path, read_baseline, set_baseline
from quarl.verdict.verdict import Check, Verdict
from tests.conftest import need
from tests.e2e.conftest import Quarl

BOARD = "nucleo_l4r5zi"
POLICY, RUNG = "nav_ppo", 3
LIMITS = Limits(
    episodes=64,
    margin=0.1,
    random_return=-21.4,
    source_return=39.18,
    failure="success",
    failure_margin=0.12,
    max_action_error=0.02,
)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The release as it is, with its evidence and its baseline beside it."""
    bundle = pipeline.export(
        pipeline.import_source(POLICY),
        tmp_path_factory.mktemp("release") / "nav",
        ExportRequest(rung=RUNG, limits=LIMITS),
    )
    pipeline.parity(bundle)
    set_baseline(bundle, pipeline.gate(bundle), baseline_path(bundle))
    return bundle


@pytest.fixture
def touched(released: Release, tmp_path: Path) -> Path:
    """A copy of the release, free to be damaged."""
    return Path(shutil.copytree(released.folder, tmp_path / "nav"))


def failing(verdict: Verdict) -> dict[str, Check]:
    return {check.name: check for check in verdict.failed}


def judged(source: Source, out: Path, **changes: Any) -> Verdict:
    """Return the verdict on the source exported as the release was, but for the changes."""
    bundle = pipeline.export(
        source, out, ExportRequest(**{"rung": RUNG, "limits": LIMITS, **changes})
    )
    pipeline.parity(bundle)
    return pipeline.gate(bundle)


def test_an_untouched_release_passes_and_does_not_fall_behind_its_baseline(
    released: Release, tmp_path: Path
) -> None:
    again = pipeline.export(
        pipeline.import_source(POLICY), tmp_path / "again", ExportRequest(rung=RUNG, limits=LIMITS)
    )
    pipeline.parity(again)
    verdict = pipeline.gate(again, baseline=read_baseline(baseline_path(released)).checks)
    assert verdict.may_ship
    assert sum(check.group == "regression" for check in verdict.checks) > 8


def flipped_tflite(model: bytes, weights: bytes) -> bytes:
    """Return the .tflite with one bit of these weights changed."""
    at = model.index(weights) + len(weights) // 2
    return model[:at] + bytes([model[at] ^ 0x40]) + model[at + 1 :]


def flipped_onnx(model: bytes, weights: bytes) -> bytes:
    """Return the .onnx with one bit of the weights of as many bytes changed."""
    parsed = onnx.load_model_from_string(model)
    values = max(
        (entry for entry in parsed.graph.initializer), key=lambda entry: len(entry.raw_data)
    )
    assert len(values.raw_data) == len(weights)
    middle = len(weights) // 2
    values.raw_data = (
        values.raw_data[:middle]
        + bytes([values.raw_data[middle] ^ 0x40])
        + values.raw_data[middle + 1 :]
    )
    return bytes(parsed.SerializeToString())


@pytest.mark.parametrize(
    ("name", "flipped", "stopped_by"),
    [
        ("model.tflite", flipped_tflite, "equality_litert"),
        ("model.onnx", flipped_onnx, "equality_onnxruntime"),
    ],
)
def test_a_flipped_bit_in_the_weights_is_stopped_by_the_backend_and_by_the_digest(
    touched: Path, name: str, flipped: Callable[[bytes, bytes], bytes], stopped_by: str
) -> None:
    path, bundle = touched / name, open_bundle(touched)
    weights = max(
        (node.op.weights for node in bundle.quantized.nodes if isinstance(node.op, QuantWeighted)),
        key=lambda w: w.size,
    )
    path.write_bytes(flipped(path.read_bytes(), weights.tobytes()))
    found = failing(pipeline.gate(open_bundle(touched)))
    assert set(found) == {stopped_by, "files_unchanged"}
    assert "first at observation" in found[stopped_by].detail
    assert name in found["files_unchanged"].detail


def test_a_quietly_worse_quantisation_is_stopped_by_the_actions_and_says_where_the_loss_sits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def coarser(policy: Policy, calibration: Calibration, number: int, *rest: Any) -> Any:
        """The rung as it is, but with the weights in steps of 24: what a wrong shift in the
        quantiser would do.
        """
        quantized, results = fixed_rung(policy, calibration, number, *rest)
        return _coarsened(quantized, 24), results

    monkeypatch.setattr("quarl.exporter.integers.fixed_rung", coarser)
    verdict = judged(pipeline.import_source(POLICY), tmp_path / "nav")
    found = failing(verdict)
    assert "action_error" in found
    assert not {
        "equality_litert",
        "equality_onnxruntime",
        "example_outputs",
        "files_unchanged",
    } & set(found)
    part = next(reason.text for reason in verdict.why if reason.topic == "part")
    assert "largest first: weights" in part
    assert any(
        reason.helps and "calibration" in reason.text for reason in verdict.why
    )  # the same rung made anew is better


def test_a_wrong_normaliser_is_stopped_since_the_source_plays_worse_than_its_record(
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(models_dir() / POLICY, tmp_path / POLICY))
    statistics = read_npz(folder / "normalizer.npz")
    statistics["var"] = np.roll(statistics["var"], 1)
    (folder / "normalizer.npz").write_bytes(npz_bytes(statistics))
    check = failing(judged(pipeline.import_source(str(folder)), tmp_path / "nav"))["source_return"]
    assert "39.18 is known of it" in check.detail
    assert "normaliser" in check.advice


def test_a_calibration_from_one_episode_is_stopped_and_told_by_what_it_does_not_cover(
    tmp_path: Path,
) -> None:
    source = pipeline.import_source(POLICY)
    assert source.env is not None
    assert isinstance(source.policy, Policy)
    seen = collect_observations(source.env, source_actor(source.policy), [4_000_000], 2000)
    (tmp_path / "one.npz").write_bytes(npz_bytes({"obs": seen.obs, "episode": seen.episode}))
    verdict = judged(source, tmp_path / "nav", calibration=tmp_path / "one.npz")
    found = failing(verdict)
    assert found["calibration_episodes"].found == 1
    assert {"mean_return", "failure_rate", "low_quantile"} & set(found)
    assert "does not cover what is met in play" in next(
        reason.text for reason in verdict.why if reason.topic == "calibration"
    )


@pytest.fixture(scope="module")
def on_board(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The release for a board, with its evidence and the profile of its firmware."""
    need("ziglang", "unicorn")
    return exported_for(BOARD, tmp_path_factory.mktemp("board") / "nav")


def exported_for(board: str, out: Path) -> Release:
    """Return the policy exported for a board, profiled there and compared with its source."""
    target = Target(find_board(board, targets_dir()))
    request = ExportRequest(rung=RUNG, limits=LIMITS, board=target.board)
    release = pipeline.export(pipeline.import_source(POLICY), out, request)
    pipeline.profile_board(release, target)
    pipeline.parity(release)
    return release


def test_one_kilobyte_over_the_flash_and_a_missed_deadline_are_stopped_by_their_budgets(
    on_board: Release,
) -> None:
    assert pipeline.gate(on_board).may_ship
    profile = read_measurements(on_board).firmware
    assert profile is not None
    flash = float(profile.flash_bytes - 1024)
    tight = replace(
        on_board.manifest.limits,
        budgets={"firmware_flash_bytes": flash, "firmware_latency_us": 10.0},
    )
    found = failing(pipeline.gate(on_board, limits=tight))
    assert set(found) == {"budget_firmware_flash_bytes", "budget_firmware_latency_us"}
    assert found["budget_firmware_flash_bytes"].margin == -1024
    assert "1,024 B over the limit" in found["budget_firmware_flash_bytes"].detail
    assert found["budget_firmware_latency_us"].kind == "estimated"


def test_a_slower_kernel_is_stopped_by_the_baselines_instruction_count(
    on_board: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted, before = pipeline.gate(on_board), read_measurements(on_board).firmware
    assert before is not None
    kernel = before.layers[0].kernel
    harness = _with_slower_kernel(
        kernel, Path(shutil.copytree(firmware_dir(), tmp_path / "harness"))
    )
    for user in ("build", "image", "linux", "package", "runtime", "source_tree"):
        monkeypatch.setattr(f"quarl.firmware.{user}.firmware_dir", harness)
    slower = exported_for(BOARD, tmp_path / "slower")
    found = failing(pipeline.gate(slower, baseline=accepted.checks))
    assert {
        "regression_budget_firmware_instructions",
        f"regression_budget_firmware_{kernel}_instructions",
    } <= set(found)
    assert "in the baseline" in found["regression_budget_firmware_instructions"].detail
    assert "baseline set" in found["regression_budget_firmware_instructions"].advice
    assert all(name.startswith("regression_budget_firmware") for name in found)


def test_a_profile_for_another_board_is_stored_beside_and_judges_nothing(
    on_board: Release, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(on_board.folder, tmp_path / "nav"))
    before = pipeline.gate(open_bundle(folder))
    other = Target(find_board("rp2040_pico", targets_dir()))
    pipeline.profile_board(open_bundle(folder), other)
    assert {"firmware.rp2040_pico.json", f"firmware.{BOARD}.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert pipeline.gate(open_bundle(folder)) == before


@pytest.mark.parametrize("name", ["rp2040_pico", "edited"])
def test_a_profile_of_other_files_is_refused_by_name(
    on_board: Release, tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(on_board.folder, tmp_path / "nav"))
    own = folder / f"firmware.{BOARD}.json"
    if name == "edited":
        digest = on_board.manifest.files["firmware/policy/ql_policy.c"]
        own.write_text(own.read_text().replace(digest, "0" * 64))
    else:
        pipeline.profile_board(open_bundle(folder), Target(find_board(name, targets_dir())))
        (folder / f"firmware.{name}.json").replace(own)
    found = failing(pipeline.gate(open_bundle(folder)))["files_unchanged"]
    assert own.name in found.detail


def test_what_is_built_and_run_is_what_lies_in_the_bundle(
    on_board: Release, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(on_board.folder, tmp_path / "nav"))
    path = folder / "firmware" / "policy" / "ql_policy.c"
    path.write_text('#error "not what quarl wrote"\n' + path.read_text())
    release, target = open_bundle(folder), Target(find_board(BOARD, targets_dir()))
    with pytest.raises(DeviceError, match="not what quarl wrote"):
        pipeline.profile_board(release, target)
    with pytest.raises(DeviceError, match="not what quarl wrote"):
        pipeline.parity(release)
    (folder / "model.tflite").write_bytes(bytes(100))
    with pytest.raises(QuarlError):
        pipeline.profile(open_bundle(folder))


def test_firmware_that_this_quarl_would_write_otherwise_is_measured_as_it_lies_there(
    on_board: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the firmware was written again")

    monkeypatch.setattr("quarl.profiles.microcontroller.write_source_tree", refuse)
    before = read_measurements(on_board).firmware
    target = Target(find_board(BOARD, targets_dir()))
    assert pipeline.profile_board(on_board, target) == before


def _coarsened(quantized: QuantPolicy, step: int) -> QuantPolicy:
    """Return the policy with weights that are multiples of `step`."""
    nodes = []
    for node in quantized.nodes:
        if isinstance(node.op, QuantWeighted):
            weights = np.clip(np.rint(node.op.weights / step) * step, -127, 127).astype(np.int8)
            node = replace(node, op=replace(node.op, weights=weights))
        nodes.append(node)
    return replace(quantized, nodes=tuple(nodes))


def _with_slower_kernel(kernel: str, harness: Path) -> Callable[[], Path]:
    """Return where the harness lies in which the kernel idles for a few rounds before it begins."""
    (path,) = harness.rglob(f"{kernel}.c")
    idle = "    for (volatile int32_t idle = 0; idle < 8; idle++) {\n    }\n"
    source, count = re.subn(
        r"(^\w[^\n;]*" + kernel + r"\([^;{]*\)\n\{\n)",
        r"\1" + idle,
        path.read_text(),
        count=1,
        flags=re.MULTILINE,
    )
    assert count == 1
    path.write_text(source)
    return lambda: harness


def test_a_baseline_is_set_shown_found_and_kept_by_the_command_line(
    quarl: Quarl, released: Release, touched: Path
) -> None:
    bundle = open_bundle(touched)
    done = quarl("baseline", "set", touched)
    assert done.returncode == 0, done.stderr
    assert "nav_ppo on rung 3" in done.stdout
    path = baseline_path(bundle)
    smaller = path.read_text().replace(
        f'"found": {len(bundle.file("model.tflite"))}.0', '"found": 9000.0'
    )
    path.write_text(smaller)
    done = quarl("gate", touched, "--no-history")
    assert done.returncode == 1
    assert "regression_budget_model_tflite_bytes" in done.stdout
    assert (
        quarl("gate", touched, "--no-history", "--baseline", baseline_path(released)).returncode
        == 0
    )
    shown = json.loads(quarl("baseline", "show", touched, "--json").stdout)
    assert shown["policy"] == POLICY


def test_a_check_is_explained_by_the_command_line(quarl: Quarl, released: Release) -> None:
    done = quarl("gate", "--explain", "mean_return")
    assert done.returncode == 0, done.stderr
    assert "Limit: margin times" in done.stdout
    assert (
        json.loads(quarl("gate", "--explain", "equality_litert", "--json").stdout)["name"]
        == "equality_*"
    )
    assert (
        "of 3,099 integers of litert"
        in quarl("gate", released.folder, "--explain", "equality_litert").stdout
    )
    assert quarl("gate", "--explain", "luck").returncode == 2
    assert "needs a BUNDLE" in quarl("gate").stderr


def test_parity_plays_disturbed_episodes_and_takes_the_limits_of_the_gate(
    quarl: Quarl, touched: Path, tmp_path: Path
) -> None:
    (tmp_path / "gate.toml").write_text(
        "[gate]\nepisodes = 24\nrobustness_margin = 0.5\nsequential = false\n"
    )
    done = quarl("parity", touched, "--limits", "gate.toml", "--json")
    assert done.returncode == 0, done.stderr
    evidence = json.loads(done.stdout)
    assert [disturbed["disturbance"] for disturbed in evidence["robustness"]] == [
        "noise",
        "drop",
        "delay",
    ]
    assert evidence["paired"]["looks"] == [{"alpha_share": 1.0, "episodes": 24}]
    assert len(evidence["paired"]["divergence"]) == 24
    checks = json.loads(
        quarl("gate", touched, "--limits", "gate.toml", "--json", "--no-history").stdout
    )["checks"]
    assert {check["outcome"] for check in checks if check["group"] == "robustness"} == {"pass"}
