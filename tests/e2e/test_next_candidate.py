"""What the gate refuses of a ship is followed by the next candidate, on other seeds and at an error
that counts all tries.
"""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import tests.support.short_env  # noqa: F401  # registers Short-v0
from quarl import pipeline
from quarl.bundle.limits import Limits
from quarl.bundle.manifest import MANIFEST
from quarl.bundle.policy_file import policy_bytes
from quarl.bundle.release import open_bundle
from quarl.bundle.rung_result import ONLY_TRY, Attempt
from quarl.exporter.export import ExportRequest
from quarl.exporter.shipping import Shipment
from quarl.graph.contract import Action, Observation
from quarl.graph.env_spec import EnvSpec
from quarl.graph.policy import Dense, linear_chain
from quarl.graph.quant_policy import QuantPolicy
from quarl.rollouts.actors import Actor, artifact_actor
from quarl.sources.source import Source
from quarl.stats.seeds import parity_seed
from quarl.verdict.assess import ParityRequest
from quarl.verdict.verdict import Outcome
from quarl.workers.progress import Reporter
from tests.support.small_policies import policy

pytestmark = pytest.mark.play
LIMITS = Limits(episodes=48, failure_margin=0.1, margin=0.2, random_return=5.0)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A policy that plays Short-v0 nearly without a fault."""
    weights = np.array([[-1.0, 0.05], [1.0, 0.1]], np.float32)
    nodes = linear_chain([("head", Dense(weights, np.zeros(2, np.float32)))])
    made = policy(nodes, Observation((2,), "float32", "vector"), Action("discrete", 2))
    path = tmp_path_factory.mktemp("source") / "short.npz"
    path.write_bytes(policy_bytes(made))
    return pipeline.import_source(str(path), env=EnvSpec("Short-v0"))


@contextmanager
def unproven(source: Source, **more: object) -> Iterator[Callable[[], None]]:
    """The import is proven once, elsewhere."""
    yield lambda: None


@contextmanager
def refused(count: int, *, whole: bool = False) -> Iterator[list[str]]:
    """Let so many candidates play badly before the gate; give the lines that are told.

    Args:
        whole: whether the import is proven and the host is profiled too, which takes seconds.
    """
    seen: list[bytes] = []

    def actor(quantized: QuantPolicy, model: bytes) -> Actor:
        if model not in seen:
            seen.append(model)
        if seen.index(model) < count:
            return lambda obs: np.zeros(len(obs), np.int64)
        return artifact_actor(quantized, model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quarl.evidence.play.artifact_actor", actor)
        patch.setattr("quarl.rollouts.shares._OPENED", OrderedDict())
        if not whole:
            patch.setattr("quarl.exporter.shipping.proving", unproven)
            patch.setattr("quarl.exporter.shipping.measure_host", lambda release, started: None)
        yield []


def shipped(source: Source, out: Path, lines: list[str], episodes: int | None = None) -> Shipment:
    reporter = Reporter(line=lines.append)
    request = ExportRequest(limits=LIMITS, cost=2.0)
    return pipeline.ship(source, out, request, ParityRequest(episodes=episodes), reporter)


@pytest.fixture(scope="module")
def second(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a second try; copy it first."""
    out = tmp_path_factory.mktemp("second") / "out"
    with refused(1) as lines:
        shipped(source, out, lines)
    return out


def test_what_the_gate_refuses_is_followed_by_the_next_on_seeds_of_its_own(
    source: Source, tmp_path: Path
) -> None:
    with refused(2) as lines:
        made = shipped(source, tmp_path / "out", lines)
    assert made.verdict.answer is Outcome.PASS
    release = open_bundle(tmp_path / "out")
    assert release.manifest == made.release.manifest
    assert release.manifest.attempt == Attempt(3, 0.125)
    assert [one.attempt.number for one in release.manifest.refused if one.attempt] == [1, 2]
    for one in release.manifest.refused:
        assert "the gate refused it: mean_return" in one.missed[0]
    evidence = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert evidence["paired"]["seeds"][0] == parity_seed(3) == 12_000_000
    looks = evidence["paired"]["looks"]
    assert sum(look["alpha_share"] for look in looks) == pytest.approx(0.125)
    assert looks[-1]["episodes"] > 48, "a smaller error needs more episodes"
    (tries,) = [check for check in made.verdict.checks if check.name == "tries"]
    assert "the gate refused 2 before (try 1, rung" in tries.detail
    assert sum("the next candidate follows" in line for line in lines) == 2
    assert pipeline.gate(release).checks == made.verdict.checks


@pytest.mark.slow
def test_the_whole_chain_goes_on_with_the_next(source: Source, tmp_path: Path) -> None:
    with refused(1, whole=True) as lines:
        made = shipped(source, tmp_path / "out", lines)
    assert made.verdict.answer is Outcome.PASS
    assert made.release.manifest.attempt == Attempt(2, 0.25)
    assert made.profile.to_json() == (tmp_path / "out" / "profile.json").read_bytes()


def test_where_no_candidate_passes_the_best_answer_is_kept(source: Source, tmp_path: Path) -> None:
    with refused(99) as lines:
        made = shipped(source, tmp_path / "out", lines)
    assert made.verdict.answer is Outcome.FAIL
    release = open_bundle(tmp_path / "out")
    assert release.manifest_sha256 == made.release.manifest_sha256
    assert release.manifest.attempt == Attempt(1, 0.5)
    assert not release.changed_files
    assert lines[-1].startswith("no candidate passes: the bundle holds try 1, rung")
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_only_candidate_and_too_few_episodes_for_more_have_the_whole_error(
    source: Source, tmp_path: Path
) -> None:
    with refused(1) as lines:
        made = shipped(source, tmp_path / "few", lines, episodes=30)  # 0.9 ** 30 is 0.042
    assert made.release.manifest.attempt == ONLY_TRY
    assert made.verdict.answer is Outcome.FAIL
    assert not any("next candidate" in line for line in lines)
    only = pipeline.export(source, tmp_path / "only", ExportRequest(limits=LIMITS, rung=3))
    assert only.manifest.attempt == ONLY_TRY


def test_the_gate_cannot_be_talked_out_of_the_tries(second: Path, tmp_path: Path) -> None:
    shutil.copytree(second, tmp_path / "out")

    def answers() -> dict[str, Outcome]:
        return {c.name: c.outcome for c in pipeline.gate(open_bundle(tmp_path / "out")).checks}

    parity = tmp_path / "out" / "parity.json"
    genuine = parity.read_text()
    for key, value in (("alpha_share", 1.0), ("seeds", 7_000_000)):
        edited = json.loads(genuine)
        paired = edited["paired"]
        if key == "seeds":
            paired["seeds"] = [value + k for k in range(len(paired["seeds"]))]
        else:
            paired["looks"] = [{**paired["looks"][-1], key: value}]
            paired["looks"][0]["episodes"] = len(paired["seeds"])
        parity.write_text(json.dumps(edited))
        assert answers()["evidence_consistent"] is Outcome.FAIL, key
    parity.write_text(genuine)
    assert answers()["evidence_consistent"] is Outcome.PASS
    manifest = tmp_path / "out" / MANIFEST
    table = json.loads(manifest.read_text())
    for result in table["ladder"]:
        if result["attempt"] is not None and not result["taken"]:
            result["attempt"] = None
    manifest.write_text(json.dumps(table))
    release = open_bundle(tmp_path / "out")
    pipeline.parity(release, ParityRequest())
    assert answers()["files_consistent"] is Outcome.FAIL


def test_parity_of_the_bundle_plays_the_seeds_of_its_try_again(
    second: Path, tmp_path: Path
) -> None:
    shutil.copytree(second, tmp_path / "out")
    then = json.loads((second / "parity.json").read_text())
    played = pipeline.parity(open_bundle(tmp_path / "out"), ParityRequest())
    assert played.paired is not None
    assert played.paired.source.seeds[0] == parity_seed(2) == 11_000_000
    now = json.loads(played.to_json())
    assert now["paired"] == then["paired"]
