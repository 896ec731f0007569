"""Signs a bundle, and finds out whether one is signed by a trusted key.

In: a release with a verdict on it, a key. Out: sbom.cdx.json and attestation.intoto.jsonl in the
bundle: one DSSE envelope a line. Format: toolchain/docs/security.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quarl.bundle.manifest import ATTESTATION, MANIFEST, SBOM
from quarl.bundle.release import Release
from quarl.errors import InputError
from quarl.evidence.gather import PARITY
from quarl.files.documents import Document, read_json
from quarl.files.text import shortened
from quarl.verdict.attestation.envelope import IN_TOTO, Envelope, envelope_from, sealed
from quarl.verdict.attestation.keys import PublicKey, SecretKey
from quarl.verdict.attestation.sbom import sbom_bytes
from quarl.verdict.attestation.statement import (
    RELEASE,
    STATEMENT,
    provenance_statement,
    release_statement,
    signer_here,
    subjects,
)
from quarl.verdict.checks import Question, judged
from quarl.verdict.stored import verdict_on
from quarl.verdict.verdict import Check

MOST_LINES = 16
MADE_AGAIN = ("verdict.json", "report.html")  # by every gate and report, from what is signed
_DOCUMENT = Document("an in-toto statement", 1, "run quarl sign again")
_QUESTION = Question("signature", "example", "at least", "signatures")


def sign_release(release: Release, key: SecretKey, by: str = "") -> Path:
    """Write the list of parts and the attestation into the bundle, and return the latter's path:
    who holds the key says that he measured what lies there.

    Args:
        by: who measured; "" takes the job that the CI service names.
    Raises:
        InputError: the bundle was changed, or its verdict is missing or on other files.
        ToolMissingError: cyclonedx-python-lib is not installed.
    """
    verdict = verdict_on(release)
    if verdict is None:
        raise InputError(f"{release.folder}: was not judged: run quarl gate {release.folder}")
    if release.changed_files:
        raise InputError(
            f"{release.folder}: {release.changed_files[0]}: what was changed after the export is "
            "not signed: export again"
        )
    release.store(SBOM, sbom_bytes(release))
    files, signer = subjects(release), signer_here(by)
    statements = (write(release, files, verdict, signer) for write in _WRITERS)
    lines = b"".join(sealed(statement, IN_TOTO, key) for statement in statements)
    return release.store(ATTESTATION, lines)


_WRITERS = (release_statement, provenance_statement)


@dataclass(frozen=True, slots=True)
class _Signed:
    """A statement about a release by a trusted key."""

    key: PublicKey
    files: Mapping[str, str]  # SHA-256 by path


def signature_check(
    release: Release, keys: Sequence[PublicKey], manifest_sha256: str, evidence_sha256: str
) -> Check:
    """Return whether a trusted key has signed every file of the bundle as it lies there.

    Args:
        keys: any one of them is enough.
        manifest_sha256, evidence_sha256: of the bytes that are judged.
    """
    advice = "Have the job that measured sign it: quarl sign BUNDLE --key KEY; or trust its key"
    data = release.stored(ATTESTATION)
    if data is None:
        detail = f"the bundle is not signed: {ATTESTATION} is missing"
        return judged(_QUESTION, 0, 1, detail, advice)
    try:
        signed = list(_signed(data, str(release.folder / ATTESTATION), keys))
    except InputError as error:
        return judged(_QUESTION, 0, 1, str(error), advice)
    if not signed:
        detail = f"no statement about a release in {ATTESTATION} is signed by a trusted key"
        return judged(_QUESTION, 0, 1, detail, advice)
    now = {**subjects(release), MANIFEST: manifest_sha256}
    if evidence_sha256:
        now[PARITY] = evidence_sha256
    problems = [_differences(statement.files, now) for statement in signed]
    if all(problems):
        detail = f"signed by {signed[0].key.keyid[:16]}, but {'; '.join(problems[0][:5])}"
        return judged(_QUESTION, 0, 1, detail, "Something changed after the signature: sign again")
    holding = [one for one, found in zip(signed, problems, strict=True) if not found]
    detail = f"{len(now):,} files, signed by {', '.join(one.key.keyid[:16] for one in holding)}"
    return judged(_QUESTION, len(holding), 1, detail, advice)


def _signed(data: bytes, where: str, keys: Sequence[PublicKey]) -> Iterator[_Signed]:
    """Yield the statements about a release that trusted keys have signed.

    Raises:
        InputError: not envelopes, one a line; or a signed statement that says what cannot be.
    """
    lines = data.splitlines()
    if len(lines) > MOST_LINES:
        raise InputError(f"{where}: {len(lines):,} lines, at most {MOST_LINES} are read")
    for number, line in enumerate(lines, 1):
        at = f"{where}: line {number}"
        envelope = envelope_from(line, at)
        signers = envelope.signers(keys) if envelope.payload_type == IN_TOTO else ()
        if signers:
            files = _files_of(envelope, at)
            if files is not None:
                yield _Signed(signers[0], files)


def _files_of(envelope: Envelope, where: str) -> dict[str, str] | None:
    """Return the subjects of a statement about a release; None where it is about another thing."""
    table = read_json(envelope.payload, where, _DOCUMENT)
    try:
        if (table["_type"], table["predicateType"]) != (STATEMENT, RELEASE):
            return None
        return {str(one["name"]): str(one["digest"]["sha256"]) for one in table["subject"]}
    except (LookupError, TypeError) as error:
        raise InputError(
            f"{where}: is not {_DOCUMENT.title} ({error!r}): {_DOCUMENT.remedy}"
        ) from error


def _differences(signed: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    lines = []
    for name in sorted({*signed, *now}.difference(MADE_AGAIN)):
        if name not in now:
            lines.append(f"{shortened(name)} is missing")
        elif name not in signed:
            lines.append(f"{shortened(name)} is not among the files that were signed")
        elif signed[name] != now[name]:
            lines.append(f"{shortened(name)} was changed after the signature")
    return lines
