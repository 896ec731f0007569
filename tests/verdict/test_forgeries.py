"""Forged releases: what the gate refuses without any key, and what it cannot tell, which
toolchain/docs/security.md names.

Each row forges a shipped bundle that passes. `CI` is a gate.toml of whoever judges.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from quarl import pipeline
from quarl.bundle.release import open_bundle
from quarl.errors import InputError
from quarl.verdict.attestation.keys import PublicKey, SecretKey
from quarl.verdict.limits import read_gate_file
from quarl.verdict.verdict import Verdict
from tests.support.forgery import Forgery

CI = "[gate]\nepisodes = 400\nmargin = 0.02\nfailure_margin = 0.01\n"
SECURITY = Path(__file__).parents[2] / "toolchain" / "docs" / "security.md"
PASSES: set[str] = set()
Forge = Callable[[Forgery], None]


@dataclass(frozen=True)
class Row:
    """One forged release."""

    name: str
    forge: Forge
    stopped_by: set[str] | str  # checks that do not pass, among others; or an error's message
    limits: str | None = None


def stamped(*steps: Forge) -> Forge:
    """Return the steps, after which every digest is put right."""

    def forge(forged: Forgery) -> None:
        for step in steps:
            step(forged)
        forged.stamp()

    return forge


def flip_tflite(forged: Forgery) -> None:
    release = open_bundle(forged.folder)
    weights = max(
        (node.op.weights for node in release.quantized.nodes if hasattr(node.op, "weights")),
        key=lambda array: array.size,
    ).tobytes()
    model = bytearray(release.file("model.tflite"))
    model[model.index(weights) + len(weights) // 2] ^= 0x40
    forged.put("model.tflite", bytes(model))


def edited(**changes: object) -> Forge:
    return lambda forged: forged.manifest.update(changes)


def limits(**changes: object) -> Forge:
    return lambda forged: forged.limits.update(changes)


def wide_limits(forged: Forgery) -> None:
    forged.limits.update(margin=1.0, failure_margin=1.0, min_agreement=0.0)


def good_evidence(forged: Forgery) -> None:
    forged.bad_evidence()
    int8 = forged.evidence["paired"]["candidate"]
    int8["returns"] = [499.5] * len(int8["returns"])
    forged.store_evidence()


def edited_verdict(forged: Forgery) -> None:
    forged.bad_evidence()
    forged.store_evidence()
    verdict = json.loads((forged.folder / "verdict.json").read_text())
    verdict |= {"answer": "pass", "may_ship": True}
    forged.put("verdict.json", json.dumps(verdict))


def link_artifacts(forged: Forgery) -> None:
    for name in ("model.tflite", "model.onnx"):
        elsewhere = forged.folder.parent / f"elsewhere.{name}"
        shutil.move(forged.folder / name, elsewhere)
        (forged.folder / name).symlink_to(elsewhere)


def other_proof(forged: Forgery) -> None:
    forged.evidence["import_proof"] |= {"max_abs_error": 0.0, "framework": "anything 1.0"}
    forged.store_evidence()


def other_profile(forged: Forgery) -> None:
    text = (forged.folder / "profile.json").read_text()
    profile = json.loads(text)
    for model in profile["models"]:
        model["latency"]["samples_us"] = [0.001] * len(model["latency"]["samples_us"])
    forged.put("profile.json", json.dumps(profile, indent=1, sort_keys=True) + "\n")


def list_only(*names: str) -> Forge:
    def forge(forged: Forgery) -> None:
        files = forged.manifest["files"]
        forged.manifest["files"] = {name: files[name] for name in names}

    return forge


def other_looks(forged: Forgery) -> None:
    forged.evidence["paired"]["looks"][0]["episodes"] = 399
    forged.evidence["paired"]["looks"][-1]["episodes"] = 401
    forged.store_evidence()


def one_seed(forged: Forgery) -> None:
    paired = forged.evidence["paired"]
    paired["seeds"] = [paired["seeds"][0]] * len(paired["seeds"])
    forged.store_evidence()


def other_seeds(forged: Forgery) -> None:
    paired = forged.evidence["paired"]
    paired["seeds"] = [seed + 10_000 for seed in paired["seeds"]]
    forged.store_evidence()


def other_env(forged: Forgery) -> None:
    forged.evidence["env"]["id"] = forged.evidence["paired"]["env_id"] = "CartPole-v0"
    forged.store_evidence()


def other_env_arguments(forged: Forgery) -> None:
    forged.evidence["env"]["kwargs"] = {"sutton_barto_reward": True}
    forged.store_evidence()


def honest_parity(forged: Forgery) -> None:
    pipeline.parity(open_bundle(forged.folder))


def swap(forged: Forgery) -> None:
    forged.swap_policy()


def bad(forged: Forgery) -> None:
    forged.bad_evidence()


def no_source(forged: Forgery) -> None:
    forged.swap_policy()
    forged.drop_source()


def as_if_int8(forged: Forgery) -> None:
    no_source(forged)
    forged.manifest["origin"]["framework"] = "int8 .tflite"


def contract(edit: Callable[[dict[str, object]], object]) -> Forge:
    return lambda forged: forged.edit_contract(lambda document: edit(document) and None)


def normalise(document: dict[str, object]) -> object:
    observation = document["observation"]
    assert isinstance(observation, dict)
    observation["normalizer"] = {
        "mean": [1.0] * 4, "var": [1.0] * 4, "epsilon": 1e-8, "clip_obs": 10.0,
    }  # fmt: skip
    return True


def rename(document: dict[str, object]) -> object:
    observation = document["observation"]
    assert isinstance(observation, dict)
    observation["names"] = ["a", "b", "c", "d"]
    return True


def drop(name: str) -> Forge:
    return lambda forged: (forged.folder / name).unlink()


ROWS = (
    Row("00-untouched", lambda forged: None, PASSES),
    Row("00b-untouched+ci", lambda forged: None, PASSES, CI),
    Row("01-tflite-bit", flip_tflite, {"files_unchanged", "equality_litert"}),
    Row("02-tflite-weight+digests", stamped(flip_tflite), {"equality_litert"}),
    Row("03-other-policy+digests", stamped(swap), {"evidence_consistent", "action_agreement"}),
    Row("03b-other-policy-no-restamp", swap, {"files_unchanged"}),
    Row("04-other-policy+source", stamped(swap, lambda f: f.swap_source()), PASSES),
    Row("05-evidence-bad", stamped(bad), {"mean_return", "failure_rate"}),
    Row("06-evidence-edited-good", good_evidence, PASSES),
    Row("07-limits-in-manifest", stamped(bad, wide_limits), {"mean_return"}),
    Row("07b-limits+ci", stamped(bad, wide_limits), {"mean_return", "failure_rate"}, CI),
    Row("08-random_return", stamped(bad, limits(random_return=-1e9)), {"failure_rate"}),
    Row("08b-random_return+ci", stamped(bad, limits(random_return=-1e9)), {"failure_rate"}, CI),
    Row("09-no-source", stamped(no_source), {"files_consistent"}),
    Row("09b-no-source+ci", stamped(no_source), {"files_consistent", "source_comparison"}, CI),
    Row("09c-as-if-int8", stamped(as_if_int8), {"files_consistent"}),
    Row("10-backends", stamped(flip_tflite, limits(backends=["x"])), "lacks litert"),
    Row("10b-backends+ci", stamped(flip_tflite, limits(backends=["x"])), "lacks litert", CI),
    Row("10c-one-more", stamped(limits(backends=["litert", "onnxruntime", "x"])), "'x': unknown"),
    Row("11-contract-step_hz", stamped(contract(lambda d: d.update(step_hz=1.0) or True)),
        {"files_consistent"}),
    Row("12-contract-names", stamped(contract(rename)), {"files_consistent"}),
    Row("12b-contract-normalizer", stamped(contract(normalise)), {"files_consistent"}),
    Row("12c-contract_sha256", stamped(edited(contract_sha256="0" * 64)), {"files_consistent"}),
    Row("13-no-evidence", drop("parity.json"), {"import_error", "mean_return"}),
    Row("14-verdict-edited", edited_verdict, {"mean_return", "failure_rate"}),
    Row("15-symlinked-artifacts", link_artifacts, "links are not followed"),
    Row("16-extra-files", lambda f: f.put("libpolicy.so", b"\x7fELF"), {"files_unchanged"}),
    Row("17-import-proof", other_proof, PASSES),
    Row("18-profile", other_profile, PASSES),
    Row("19-tight-limits", lambda forged: None, {"action_agreement"}, f"{CI}min_agreement = 1.0"),
    Row("20-origin", stamped(lambda f: f.manifest["origin"].update(sha256="0" * 64)),
        {"files_consistent"}),
    Row("21-files-empty", stamped(list_only()), "is missing"),
    Row("21b-files-source-only", stamped(swap, list_only("source.npz")), "is missing"),
    Row("22-example-of-one", stamped(lambda f: f.shorten_example(1)),
        {"files_consistent", "evidence_consistent"}),
    Row("23-example-empty", stamped(lambda f: f.shorten_example(0)), "holds no observations"),
    Row("24-looks", other_looks, "none of the looks"),
    Row("25-one-seed-400-times", one_seed, {"evidence_consistent"}),
    Row("25b-other-seeds", other_seeds, {"evidence_consistent"}),
    Row("26-other-env", other_env, {"evidence_consistent"}),
    Row("26b-other-arguments", other_env_arguments, {"evidence_consistent"}),
    Row("27-no-source-honest-parity", lambda f: (stamped(no_source)(f), honest_parity(f))[0],
        {"files_consistent"}),
)  # fmt: skip
DOCUMENTED = {"04-other-policy+source", "06-evidence-edited-good", "17-import-proof", "18-profile"}


@pytest.fixture
def forged(genuine: Path, tmp_path: Path) -> Forgery:
    return Forgery(Path(shutil.copytree(genuine, tmp_path / "forged")))


def judged(folder: Path, text: str | None, *trusted: PublicKey) -> Verdict:
    asked = None if text is None else read_gate_file(text, "gate.toml")
    return pipeline.gate(open_bundle(folder), limits=asked, trusted=trusted)


@pytest.mark.long
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_forged_release_is_stopped_or_named_in_the_docs(row: Row, forged: Forgery) -> None:
    row.forge(forged)
    if isinstance(row.stopped_by, str):
        with pytest.raises(InputError, match=row.stopped_by):
            judged(forged.folder, row.limits)
        return
    verdict = judged(forged.folder, row.limits)
    standing = {check.name for check in (*verdict.failed, *verdict.unproven)}
    assert row.stopped_by <= standing, standing
    assert verdict.may_ship is (row.stopped_by == PASSES)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_with_a_trusted_key_no_forged_release_passes(
    row: Row, signed: Path, key: SecretKey, tmp_path: Path
) -> None:
    forged = Forgery(Path(shutil.copytree(signed, tmp_path / "forged")))
    row.forge(forged)
    if isinstance(row.stopped_by, str):
        with pytest.raises(InputError, match=row.stopped_by):
            judged(forged.folder, row.limits, key.public)
        return
    verdict = judged(forged.folder, row.limits, key.public)
    assert verdict.may_ship is ("untouched" in row.name)
    is_forged = "untouched" not in row.name and row.name != "19-tight-limits"
    assert ("signature" in {check.name for check in verdict.failed}) is is_forged


def test_what_passes_without_a_key_is_named_in_the_docs() -> None:
    passing = {row.name for row in ROWS if row.stopped_by == PASSES and "untouched" not in row.name}
    assert passing == DOCUMENTED
    text = SECURITY.read_text()
    assert [name for name in sorted(passing) if name not in text] == []
