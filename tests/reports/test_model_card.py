"""The model card: metadata that parses, a snippet that runs, names that stay data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from quarl.bundle.release import Release
from quarl.evidence.gather import stored_evidence
from quarl.exporter.export import ExportRequest, export_policy
from quarl.importers import ImportOptions
from quarl.reports.model_card import model_card
from quarl.sources.source import open_source
from quarl.verdict.assess import VERDICT
from quarl.verdict.formats import OUTPUTS
from quarl.verdict.judge import judge
from tests.support.release import GOOD, LIMITS


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    source = open_source("cartpole_ppo", ImportOptions(), None)
    folder = tmp_path_factory.mktemp("card") / "bundle"
    return export_policy(source, folder, ExportRequest(rung=1))


def front_matter(card: str) -> dict[str, object]:
    _, text, _ = card.split("---\n", 2)
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def test_an_unjudged_bundle_says_so_and_its_snippet_runs(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = model_card(release)
    assert "Nothing yet" in card
    assert "model-index" not in front_matter(card)
    snippet = card.split("```python\n")[1].split("```")[0]
    exec(snippet.replace("BUNDLE", str(release.folder)), {})
    assert capsys.readouterr().out.strip() in ("[0]", "[1]")


def test_a_judged_bundle_states_its_return(release: Release) -> None:
    evidence, _ = stored_evidence(release)
    verdict = replace(
        judge(GOOD, LIMITS, policy="cartpole_ppo"),
        manifest_sha256=release.manifest_sha256,
        evidence_sha256=evidence.sha256,
    )
    release.store(VERDICT, OUTPUTS["json"](verdict).encode())
    try:
        found = front_matter(model_card(release))
    finally:
        (release.folder / VERDICT).unlink()
    (entry,) = found["model-index"]  # type: ignore[attr-defined]
    (metric,) = entry["results"][0]["metrics"]
    assert metric["type"] == "mean_reward"
    assert verdict.closed_loop is not None
    assert metric["value"].startswith(f"{verdict.closed_loop.candidate.mean:.2f}")


@pytest.mark.parametrize("name", ["a\n---\nb: c", 'q"uote', "x | y", "<script>", "a: &b"])
def test_names_are_data(release: Release, name: str) -> None:
    assert release.manifest.env is not None
    env = replace(release.manifest.env, id=name)
    manifest = replace(release.manifest, name=name, env=env)
    card = model_card(replace(release, manifest=manifest))
    tags = front_matter(card)["tags"]
    assert isinstance(tags, list)
    assert len(tags) == 7
    assert "<script>" not in card.split("---\n", 2)[2]
