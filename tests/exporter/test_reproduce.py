"""The same bytes again: on another day, in another folder, locale and number of threads; and `quarl
verify`, which finds the file that is not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from quarl import pipeline
from quarl.bundle.release import Release, open_bundle
from quarl.errors import InputError
from quarl.exporter.export import ExportRequest
from quarl.files.npz import npz_bytes
from tests.support.forgery import Forgery

TEN_YEARS_ON = """
import time
now, now_ns = time.time, time.time_ns
time.time = lambda: now() + 10 * 365.25 * 86400
time.time_ns = lambda: now_ns() + int(10 * 365.25 * 86400e9)
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    source = pipeline.import_source("cartpole_ppo")
    folder = tmp_path_factory.mktemp("exported") / "cartpole"
    return pipeline.export(source, folder, ExportRequest(rung=2))


def export_as(folder: Path, **changes: str) -> dict[str, bytes]:
    """Export nav_ppo in a process with another environment, and return every file's bytes."""
    folder.mkdir()
    environment = {**os.environ, "HOME": str(folder), **changes}
    argv = [sys.executable, "-m", "quarl", "export", "nav_ppo", "--rung", "2", "--out", "out"]
    subprocess.run(argv, cwd=folder, env=environment, check=True, capture_output=True, timeout=300)
    out = folder / "out"
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.mark.long
def test_day_folder_locale_threads_and_hash_seed_change_no_byte(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(TEN_YEARS_ON)
    first = export_as(
        tmp_path / "a", TZ="UTC", LC_ALL="C.UTF-8", OMP_NUM_THREADS="1", PYTHONHASHSEED="0"
    )
    other = export_as(
        tmp_path / "another folder", TZ="Asia/Tokyo", LC_ALL="C", OMP_NUM_THREADS="2",
        OPENBLAS_NUM_THREADS="2", PYTHONHASHSEED="7", PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert sorted(first) == sorted(other)
    assert [name for name in first if first[name] != other[name]] == []


def test_a_bundle_is_exported_again_byte_for_byte(release: Release) -> None:
    found = pipeline.verify(open_bundle(release.folder))
    assert found.differing == ()
    assert set(found.same) == set(release.manifest.files)
    assert found.notes == ()


@pytest.mark.long
def test_the_files_that_are_not_of_the_source_are_named(release: Release, tmp_path: Path) -> None:
    forged = Forgery.__new__(Forgery)
    forged.folder = Path(shutil.copytree(release.folder, tmp_path / "bundle"))
    forged.manifest = json.loads((forged.folder / "manifest.json").read_text())
    forged.evidence = {}
    forged.swap_policy()
    forged.stamp()
    (forged.folder / "parity.json").unlink()
    argv = [sys.executable, "-m", "quarl", "verify", str(forged.folder), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    named = {line.split(":")[0] for line in json.loads(done.stdout)["differing"]}
    assert {"policy.npz", "model.tflite", "model.onnx", "example.npz"} <= named
    assert not named & {"source.npz", "contract.json"}


def test_observations_of_the_users_own_are_given_again(release: Release, tmp_path: Path) -> None:
    obs = tmp_path / "obs.npz"
    obs.write_bytes(npz_bytes({"obs": release.example.obs}))
    source = pipeline.import_source("cartpole_ppo")
    own = pipeline.export(source, tmp_path / "own", ExportRequest(rung=0, calibration=obs))
    assert pipeline.verify(own, obs).differing == ()
    assert any("other observations" in line for line in pipeline.verify(own).differing)


def test_trained_integers_are_not_made_again(release: Release) -> None:
    trained = Release(
        **{
            **{name: getattr(release, name) for name in Release.__slots__},
            "files": {**release.files, "training.json": b"{}"},
        }
    )
    with pytest.raises(InputError, match="only the training can do again"):
        pipeline.verify(trained)
