"""Bad input: one clear message, the right exit code, nothing half written, no traceback."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from quarl import pipeline
from tests.e2e.conftest import Quarl


@pytest.fixture
def policy_zip(tmp_path: Path) -> Path:
    return Path(shutil.copy(pipeline.import_source("cartpole_ppo").file, tmp_path / "policy.zip"))


def refused(done: subprocess.CompletedProcess[str], *words: str, code: int = 2) -> None:
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    message = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    for word in words:
        assert word in done.stderr, f"{word!r} is not in {message!r}"


def test_a_source_that_is_nowhere_names_the_shipped_ones(quarl: Quarl) -> None:
    refused(quarl("import", "nav_ppoo"), "nav_ppoo", "nav_ppo")


def test_a_truncated_zip_is_refused(quarl: Quarl, policy_zip: Path) -> None:
    policy_zip.write_bytes(policy_zip.read_bytes()[:20_000])
    refused(quarl("export", policy_zip, "--env", "CartPole-v1", "--out", "out"), "policy.zip")
    assert not (policy_zip.parent / "out").exists()


def test_a_file_of_another_type_is_refused(quarl: Quarl, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    refused(quarl("import", "photo.png"), "photo.png")


def test_a_pickle_bomb_in_a_zip_does_not_run(
    quarl: Quarl, policy_zip: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "it-ran"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {marker}",)

    inner = tmp_path / "policy.pth"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("policy/data.pkl", pickle.dumps(Bomb()))
        archive.writestr("policy/version", "3")
    armed = tmp_path / "armed.zip"
    with zipfile.ZipFile(policy_zip) as good, zipfile.ZipFile(armed, "w") as bad:
        for name in good.namelist():
            bad.writestr(name, inner.read_bytes() if name == "policy.pth" else good.read(name))
    refused(quarl("import", "armed.zip", "--env", "CartPole-v1"), "armed.zip")
    assert not marker.exists()


def test_the_wrong_environment_is_named_with_both_sides(quarl: Quarl, policy_zip: Path) -> None:
    refused(quarl("export", policy_zip, "--env", "Acrobot-v1", "--out", "out"), "4", "6")


def test_an_unknown_environment_is_named(quarl: Quarl, policy_zip: Path) -> None:
    refused(quarl("import", policy_zip, "--env", "NoSuchThing-v9"), "NoSuchThing-v9")


@pytest.mark.parametrize(
    ("obs", "word"),
    [
        (np.zeros((200, 3), np.float32), "(3,)"),
        (np.ones((200, 4), np.float32), "same"),
        (np.zeros((5, 4), np.float32), "5 observations"),
        (np.full((200, 4), np.nan, np.float32), "NaN"),
    ],
    ids=["shape", "constant", "few", "nan"],
)
def test_calibration_that_cannot_be_used_is_refused(
    quarl: Quarl, policy_zip: Path, tmp_path: Path, obs: np.ndarray, word: str
) -> None:
    np.savez(tmp_path / "calibration.npz", obs=obs)
    refused(quarl("export", policy_zip, "--calibration", "calibration.npz", "--out", "out"), word)
    assert not (tmp_path / "out").exists()


def test_no_observations_at_all_says_how_to_give_them(quarl: Quarl, policy_zip: Path) -> None:
    refused(quarl("export", policy_zip, "--out", "out"), "--env", "--calibration")


def test_an_out_that_is_a_file_is_left_as_it_is(quarl: Quarl, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    refused(quarl("export", "cartpole_ppo", "--out", "out"), "is a file")
    assert (tmp_path / "out").read_text() == "mine"


def test_an_out_that_holds_other_files_is_left_as_it_is(quarl: Quarl, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    refused(quarl("export", "cartpole_ppo", "--out", "out"), "holds other files")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_named(quarl: Quarl) -> None:
    refused(quarl("export", "cartpole_ppo", "--rung", "0", "--out", "/proc/out"), "/proc")


def test_a_full_disk_leaves_nothing_half_written(quarl: Quarl, tmp_path: Path) -> None:
    def little_space() -> None:  # a file may not grow beyond 4 KiB, as on a disk that is full
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = quarl(
        "export",
        "cartpole_ppo",
        "--rung",
        "0",
        "--out",
        "out",
        preexec_fn=little_space,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )
    refused(done, "cannot be written")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_during_an_export_leaves_nothing_and_no_traceback(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "quarl", "export", "cartpole_ppo", "--out", "out"]
    heard = partial(
        signal.signal, signal.SIGINT, signal.SIG_DFL
    )  # in the background Ctrl-C is ignored, and that is inherited
    started = subprocess.Popen(
        argv,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heard,
    )
    assert started.stderr is not None
    assert "exporting" in started.stderr.readline()
    assert started.stderr.readline()  # it is under way, whatever it says first
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=120)
    assert started.returncode == 130, errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_bundle_is_named(quarl: Quarl, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(quarl("gate", "empty"), "manifest.json", "quarl export")


def test_a_manifest_that_points_outside_is_not_followed(quarl: Quarl, bundle_copy: Path) -> None:
    text = (bundle_copy / "manifest.json").read_text().replace('"model.onnx"', '"../../etc/passwd"')
    (bundle_copy / "manifest.json").write_text(text)
    refused(quarl("gate", bundle_copy), "outside")


def test_limits_with_unknown_keys_are_all_named(
    quarl: Quarl, bundle_copy: Path, tmp_path: Path
) -> None:
    (tmp_path / "gate.toml").write_text("[gate]\nmargn = 0.1\nepisodes = 'many'\n")
    refused(quarl("gate", bundle_copy, "--limits", "gate.toml"), "margn", "episodes")


def test_a_rung_that_does_not_exist_is_named(quarl: Quarl) -> None:
    refused(quarl("export", "cartpole_ppo", "--rung", "9", "--out", "out"), "rung 9")


def test_an_unknown_option_is_usage(quarl: Quarl) -> None:
    refused(quarl("ship", "cartpole_ppo", "--folder", "out"), "--folder")


def test_an_environment_without_order_is_refused_before_any_work(
    quarl: Quarl, policy_zip: Path, tmp_path: Path
) -> None:
    env = "tests.rollouts.test_first_steps:Faulty-v0"
    done = quarl(
        "export", policy_zip, "--env", env, "--env-arg", "fault=other steps", "--out", "out",
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    refused(done, "part at step 0", "self.np_random")
    assert not (tmp_path / "out").exists()
