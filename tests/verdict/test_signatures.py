"""Signatures: what is signed, who reads it, and what a key's file must be like.

An implementation of others (securesystemslib) reads the same envelopes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from quarl import pipeline
from quarl.bundle.manifest import ATTESTATION, SBOM
from quarl.bundle.release import open_bundle
from quarl.errors import InputError
from quarl.verdict.attestation.envelope import IN_TOTO, encoding, envelope_from, sealed
from quarl.verdict.attestation.keys import SecretKey, new_key, read_public_key, read_secret_key
from quarl.verdict.verdict import Outcome
from tests.conftest import need


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / ATTESTATION).read_text().splitlines()]


def statements(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(base64.b64decode(line["payload"])) for line in lines(folder)]


@pytest.fixture
def copy(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "bundle"))


def gate(folder: Path, *keys: SecretKey) -> dict[str, Outcome]:
    verdict = pipeline.gate(open_bundle(folder), trusted=[key.public for key in keys])
    return {check.name: check.outcome for check in verdict.checks}


def test_the_encoding_is_that_of_the_specification() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert encoding("http://example.com/HelloWorld", b"hello world") == expected


def test_every_file_is_a_subject_evidence_and_verdict_too(signed: Path) -> None:
    release, provenance = statements(signed)
    named = {one["name"]: one["digest"]["sha256"] for one in release["subject"]}
    there = {
        path.relative_to(signed).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in signed.rglob("*")
        if path.name != ATTESTATION
    }
    assert named == there
    assert {"parity.json", "verdict.json", "profile.json", SBOM, "manifest.json"} <= set(named)
    assert provenance["subject"] == release["subject"]
    assert release["_type"] == provenance["_type"] == "https://in-toto.io/Statement/v1"


def test_the_predicate_says_what_was_measured_by_whom_and_with_what(signed: Path) -> None:
    release, provenance = (statement["predicate"] for statement in statements(signed))
    manifest = open_bundle(signed).manifest
    assert release["source"]["sha256"] == manifest.origin.sha256
    assert release["contract_sha256"] == manifest.contract_sha256
    assert release["env"] == {"id": "CartPole-v1", "kwargs": {}}
    assert release["limits"] == manifest.limits.to_table()
    assert release["allowed"]["equality_litert"] == 0
    assert release["measured"]["by"] == "job 7"
    assert release["measured"]["cpu"]
    assert release["exported_with"] == dict(manifest.tools)
    assert provenance["buildDefinition"]["externalParameters"]["rung"] == 4
    assert provenance["runDetails"]["builder"]["id"] == "job 7"


def test_another_implementation_verifies_what_quarl_signed(signed: Path, key: SecretKey) -> None:
    need("securesystemslib")
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    theirs = SSlibKey.from_crypto(key.public.key, key.public.keyid)
    for line in lines(signed):
        Envelope.from_dict(json.loads(json.dumps(line))).verify([theirs], 1)
        broken = {**line, "payload": base64.b64encode(b"{}").decode()}
        with pytest.raises(VerificationError):
            Envelope.from_dict(broken).verify([theirs], 1)


def test_quarl_verifies_what_another_implementation_signed(key: SecretKey) -> None:
    need("securesystemslib")
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner

    theirs = Envelope(b"{}", IN_TOTO, {})
    theirs.sign(CryptoSigner(key.key))
    ours = envelope_from(json.dumps(theirs.to_dict()).encode(), "a line")
    assert ours.signers([key.public]) == (key.public,)


def test_the_same_payload_and_key_give_the_same_bytes(key: SecretKey) -> None:
    assert sealed(b"{}", IN_TOTO, key) == sealed(b"{}", IN_TOTO, key)


@pytest.mark.long
def test_a_signed_bundle_passes_and_may_be_judged_again(copy: Path, key: SecretKey) -> None:
    assert gate(copy, key)["signature"] is Outcome.PASS
    (copy / "report.html").write_text("made again")
    assert gate(copy, key)["signature"] is Outcome.PASS
    assert "signature" not in gate(copy)


@pytest.mark.long
def test_no_signature_and_that_of_a_stranger_are_refused(
    copy: Path, genuine: Path, tmp_path: Path, key: SecretKey
) -> None:
    new_key(tmp_path / "other")
    other = read_secret_key(tmp_path / "other")
    assert gate(copy, other)["signature"] is Outcome.FAIL
    assert gate(copy, other, key)["signature"] is Outcome.PASS
    bare = Path(shutil.copytree(genuine, tmp_path / "bare"))
    assert gate(bare, key)["signature"] is Outcome.FAIL


@pytest.mark.parametrize("change", ["truncated", "twice", "not JSON", "of another type", "many"])
def test_a_damaged_attestation_is_no_signature(copy: Path, key: SecretKey, change: str) -> None:
    path = copy / ATTESTATION
    data = path.read_bytes()
    first = json.loads(data.splitlines()[0])
    path.write_bytes(
        {
            "truncated": data[:200],
            "twice": json.dumps({**first, "signatures": []}).encode(),
            "not JSON": b"\xff\xfe",
            "of another type": json.dumps({**first, "payloadType": "text/plain"}).encode(),
            "many": data.splitlines()[0] * 1 + b"\n" * 20,
        }[change]
    )
    assert gate(copy, key)["signature"] is Outcome.FAIL


def test_a_profile_added_after_the_signature_is_not_covered(copy: Path, key: SecretKey) -> None:
    (copy / "firmware.nowhere.json").write_text("{}")
    assert gate(copy, key)["signature"] is Outcome.FAIL


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_may_use_is_refused(key_file: Path, tmp_path: Path, mode: int) -> None:
    loose = Path(shutil.copy(key_file, tmp_path / "loose"))
    loose.chmod(mode)
    with pytest.raises(InputError, match=f"its mode is {mode:04o}") as caught:
        read_secret_key(loose)
    assert key_file.read_text().splitlines()[1] not in str(caught.value)


def test_a_key_is_made_once_and_never_shown(tmp_path: Path, key: SecretKey) -> None:
    new_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(InputError, match="never replaced"):
        new_key(tmp_path / "key")
    assert "key=" not in repr(key)
    assert read_public_key(tmp_path / "key.pub") == read_secret_key(tmp_path / "key").public


def test_keys_of_openssl_are_read(tmp_path: Path) -> None:
    need("openssl")
    secret, public = tmp_path / "key", tmp_path / "key.pub"
    for argv in (
        ["genpkey", "-algorithm", "ed25519", "-out", str(secret)],
        ["pkey", "-in", str(secret), "-pubout", "-out", str(public)],
    ):
        subprocess.run(["openssl", *argv], check=True, capture_output=True, timeout=60)
    secret.chmod(0o600)
    assert read_secret_key(secret).public.keyid == read_public_key(public).keyid


@pytest.mark.parametrize("text", ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n", "secret words"])
def test_what_is_no_key_is_refused_without_being_quoted(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    for read in (read_secret_key, read_public_key):
        with pytest.raises(InputError, match="Ed25519 key in clear PEM") as caught:
            read(path)
        assert "secret words" not in str(caught.value)


def test_the_secret_stands_in_no_file_of_the_bundle(signed: Path, key_file: Path) -> None:
    secret = "".join(key_file.read_text().splitlines()[1:-1]).encode()
    raw = base64.b64decode(secret)[-32:]
    for path in signed.rglob("*"):
        data = path.read_bytes()
        assert secret not in data
        assert raw not in data


def test_only_what_was_judged_as_it_lies_there_is_signed(copy: Path, key: SecretKey) -> None:
    (copy / "verdict.json").unlink()
    with pytest.raises(InputError, match="was not judged"):
        pipeline.sign(open_bundle(copy), key)
    pipeline.gate(open_bundle(copy))
    (copy / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not listed in the manifest"):
        pipeline.sign(open_bundle(copy), key)


def test_the_list_of_parts_follows_its_schema_and_is_the_same_again(signed: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    from quarl.verdict.attestation.sbom import sbom_bytes

    data = (signed / SBOM).read_bytes()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    assert sbom_bytes(open_bundle(signed)) == data
    names = {part["name"] for part in json.loads(data)["components"]}
    assert {"numpy", "onnxruntime", "ai-edge-litert", "litert", "model.tflite"} <= names
