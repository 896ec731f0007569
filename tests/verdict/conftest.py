"""A finished release for the tests that forge and sign it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from quarl import pipeline
from quarl.bundle.release import open_bundle
from quarl.exporter.export import ExportRequest
from quarl.verdict.attestation.keys import SecretKey, new_key, read_secret_key
from tests.conftest import need


@pytest.fixture(scope="session")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shipped CartPole bundle that passes, with profile, evidence and verdict; copy it first."""
    folder = tmp_path_factory.mktemp("genuine") / "cartpole"
    source = pipeline.import_source("cartpole_ppo")
    release = pipeline.export(source, folder, ExportRequest(rung=4))
    pipeline.profile(release)
    pipeline.parity(release)
    assert pipeline.gate(release).may_ship
    return folder


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The secret key of the job that measures; its public half lies beside it."""
    need("cryptography", "cyclonedx")
    path = tmp_path_factory.mktemp("key") / "ci"
    new_key(path)
    return path


@pytest.fixture(scope="session")
def key(key_file: Path) -> SecretKey:
    """The key in `key_file`."""
    return read_secret_key(key_file)


@pytest.fixture(scope="session")
def signed(genuine: Path, key: SecretKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, signed."""
    folder = Path(shutil.copytree(genuine, tmp_path_factory.mktemp("signed") / "cartpole"))
    pipeline.sign(open_bundle(folder), key, "job 7")
    return folder
