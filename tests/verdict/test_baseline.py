"""A baseline is an accepted release, kept beside the bundle; later ones are held against it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from quarl import pipeline
from quarl.bundle.limits import Limits
from quarl.bundle.release import Release
from quarl.errors import InputError
from quarl.exporter.export import ExportRequest
from quarl.verdict.baseline import baseline_path, read_baseline, set_baseline
from quarl.verdict.formats.verdict_json import json_text
from quarl.verdict.judge import judge
from tests.support.release import GOOD, LIMITS

PASSED = judge(GOOD, LIMITS, policy="pendulum_sac")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("baseline") / "pendulum"
    return pipeline.export(
        pipeline.import_source("pendulum_sac"),
        folder,
        ExportRequest(rung=3, limits=Limits(random_return=-1230.0)),
    )


def test_a_baseline_lies_beside_the_bundle_and_survives_its_file(bundle: Release) -> None:
    path = set_baseline(bundle, PASSED, baseline_path(bundle))
    assert path == bundle.folder.parent / "pendulum.baseline.json"
    found = read_baseline(path)
    assert found.checks == PASSED.checks
    assert (found.policy, found.rung, found.board) == ("pendulum_sac", 3, None)
    assert found.source_sha256 == bundle.manifest.origin.sha256
    assert "quarl" in found.tools


def test_the_same_release_writes_the_same_baseline_and_no_path(
    bundle: Release, tmp_path: Path
) -> None:
    first, second = (
        set_baseline(bundle, PASSED, tmp_path / name).read_bytes()
        for name in ("a.json", "deep/er/b.json")
    )
    assert first == second
    assert str(bundle.folder).encode() not in first


def test_a_release_that_fails_is_no_baseline_and_leaves_the_accepted_one(
    bundle: Release, tmp_path: Path
) -> None:
    path = set_baseline(bundle, PASSED, tmp_path / "kept.json")
    before = path.read_bytes()
    with pytest.raises(InputError, match="does not pass"):
        set_baseline(bundle, judge(replace(GOOD, paired=None), LIMITS, policy="p"), path)
    assert path.read_bytes() == before


def test_a_bare_verdict_serves_as_a_baseline(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    path.write_text(json_text(PASSED))
    assert read_baseline(path).checks == PASSED.checks


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 2, "verdict": {}}',
        '{"format": 1, "verdict": {}}',
        '{"verdict": 3}',
    ],
)
def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"b\.json"):
        read_baseline(path)


def test_a_baseline_of_another_schema_is_refused(tmp_path: Path) -> None:
    document = json.loads(json_text(PASSED)) | {"schema_version": 1}
    path = tmp_path / "old.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="schema version 1"):
        read_baseline(path)
